"""What all models share: the declarative base, and the types of columns."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from sqlalchemy import BigInteger, Date, DateTime, Integer, Numeric, SmallInteger, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

Big = Annotated[int, mapped_column(BigInteger)]
Small = Annotated[int, mapped_column(SmallInteger)]
Key = Annotated[int, mapped_column(BigInteger, primary_key=True)]
Usd = Annotated[Decimal, mapped_column(Numeric(20, 12))]
Weight = Annotated[Decimal, mapped_column(Numeric(12, 6))]
Busy = Annotated[Decimal, mapped_column(Numeric(16, 6))]
When = Annotated[datetime, mapped_column(DateTime(timezone=True))]


class Base(DeclarativeBase):
    """The declarative base; plain `str` columns are `text`."""

    type_annotation_map = {str: Text(), int: Integer(), dict[str, Any]: JSONB(), date: Date()}  # noqa: RUF012

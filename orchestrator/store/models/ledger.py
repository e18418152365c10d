"""The ledger: transfers that balance and never change."""

from __future__ import annotations

from sqlalchemy import SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.store.models.base import Base, Big, Key, Usd, When


class Transfer(Base):
    """One transfer of the ledger: a debit and a credit of the same amount, never changed."""

    __tablename__ = "transfers"
    job_id: Mapped[Key]
    attempt: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    debit_account: Mapped[str]
    credit_account: Mapped[str]
    amount_usd: Mapped[Usd]
    tenant_id: Mapped[Big]
    project_id: Mapped[Big]
    api_key_id: Mapped[Big]
    batch_id: Mapped[Big]
    tier: Mapped[str]
    model: Mapped[str]
    price_version: Mapped[int]
    created_at: Mapped[When]


class IdleTransfer(Base):
    """The part of an interval's bill that no job bears: one transfer of the ledger, never changed."""

    __tablename__ = "idle_transfers"
    interval_id: Mapped[Key]
    debit_account: Mapped[str]
    credit_account: Mapped[str]
    amount_usd: Mapped[Usd]
    tier: Mapped[str]
    model: Mapped[str]
    price_version: Mapped[int]
    created_at: Mapped[When]

"""OpenAI's Responses API as a translation to and from chat completions. Pure.

`request.py` turns a request into a chat's, `answer.py` a chat's answer into a response, `events.py` a streamed answer into the
events of a streamed response. Nothing of it knows how a chat is answered.
"""

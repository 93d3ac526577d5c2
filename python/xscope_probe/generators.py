"""Generators whose calls are recorded: they end with their first value or their last."""


class _Proxy:
    """A generator that calls `leave(result, error's class)` once."""

    def __init__(self, generator, until_first, leave):
        self._generator, self._until_first, self._left = generator, until_first, leave

    def _leave(self, result, error):
        if self._left is not None:
            left, self._left = self._left, None
            left(result, error)

    def _value(self, value):
        if self._until_first:
            self._leave(value, None)
        return value

    def __getattr__(self, name):
        return getattr(self._generator, name)


class AsyncGenerator(_Proxy):
    def __aiter__(self):
        return self

    def __anext__(self):
        return self._run(self._generator.__anext__())

    def asend(self, value):
        return self._run(self._generator.asend(value))

    def athrow(self, *error):
        return self._run(self._generator.athrow(*error))

    async def aclose(self):
        try:
            return await self._generator.aclose()
        finally:
            self._leave(None, None)

    async def _run(self, step):
        try:
            value = await step
        except StopAsyncIteration:
            self._leave(None, None)
            raise
        except BaseException as error:
            self._leave(None, type(error))
            raise
        return self._value(value)


class Generator(_Proxy):
    def __iter__(self):
        return self

    def __next__(self):
        return self._run(self._generator.__next__)

    def send(self, value):
        return self._run(self._generator.send, value)

    def throw(self, *error):
        return self._run(self._generator.throw, *error)

    def close(self):
        try:
            return self._generator.close()
        finally:
            self._leave(None, None)

    def _run(self, step, *args):
        try:
            value = step(*args)
        except StopIteration as end:
            self._leave(end.value, None)
            raise
        except BaseException as error:
            self._leave(None, type(error))
            raise
        return self._value(value)

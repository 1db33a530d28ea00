/** A stream of text that `for await` can read everywhere: older Safari's ReadableStream lacks the iterator. */
export function readableText(source: UnderlyingDefaultSource<string>): ReadableStream<string> {
  const stream = new ReadableStream<string>(source);
  if (!(Symbol.asyncIterator in stream)) {
    Object.defineProperty(stream, Symbol.asyncIterator, { value: () => chunks(stream), configurable: true });
  }
  return stream;
}

async function* chunks(stream: ReadableStream<string>): AsyncGenerator<string> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // After the end this changes nothing; after an early exit it stops the source. An error has been thrown already.
    reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

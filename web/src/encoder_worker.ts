/** The encoder in a worker. */
import { answering } from "./answering.js";
import { Encoder, type Samples } from "./encoder.js";

/** What is asked of it. */
export interface Request extends Samples {
  id: number;
  quality: number;
}

answering<Request, Encoder>(
  (source, threads) => new Encoder(source, threads),
  async (encoder, request) => {
    const file = await encoder.encode(request, request.quality);
    return [file, [file.buffer]];
  },
);

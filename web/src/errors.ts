/** Everything that is raised on purpose. Each message ends with what to do about it; `name` tells the kind. */
export class LichenError extends Error {
  override name = "LichenError";
}

/** The call cannot mean anything. */
export class UsageError extends LichenError {
  override name = "UsageError";
}

/** Not a `.lic` file, or a damaged one: altered, contradictory. */
export class BadFile extends LichenError {
  override name = "BadFile";
}

/** A `.lic` file that ends before it should. */
export class TruncatedFile extends BadFile {
  override name = "TruncatedFile";
}

/** A sound `.lic` file that this version cannot read. */
export class UnsupportedFile extends BadFile {
  override name = "UnsupportedFile";
}

/** The size that a file claims is beyond the limit. */
export class PictureTooLarge extends LichenError {
  override name = "PictureTooLarge";
}

/** The site has no weights with the hash that a file names. */
export class UnknownWeights extends LichenError {
  override name = "UnknownWeights";
}

/** Weights, graphs or tables that could not be fetched, or are not those that were built. */
export class BadAssets extends LichenError {
  override name = "BadAssets";
}

/** The browser gave less memory than the picture needs. */
export class OutOfMemory extends LichenError {
  override name = "OutOfMemory";
}

/** This browser's sums are not exact, so that its latents would not be everyone's. */
export class InexactEngine extends LichenError {
  override name = "InexactEngine";
}

const KINDS = [
  ...[LichenError, UsageError, BadFile, TruncatedFile, UnsupportedFile],
  ...[PictureTooLarge, UnknownWeights, BadAssets, OutOfMemory, InexactEngine],
];

/** An error of ours again, from the name and the message that came out of a worker. */
export function errorOf(name: string, message: string): Error {
  const kind = KINDS.find((one) => new one("").name === name);
  if (kind) return new kind(message);
  const error = new Error(message);
  error.name = name;
  return error;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

/** zlib's CRC-32 of bytes, going on from that of what stands before them. */
export function crc32(bytes: Uint8Array, before = 0): number {
  let check = ~before;
  for (let i = 0; i < bytes.length; i++) check = TABLE[(check ^ bytes[i]) & 255] ^ (check >>> 8);
  return ~check >>> 0;
}

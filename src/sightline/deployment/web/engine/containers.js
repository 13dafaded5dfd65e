"use strict";
// An image file without its metadata, and which way is up, as Sightline tells it: no browser turns it, and none applies a
// colour profile, whatever it does by itself.

const JPEG_KEPT = new Set([0xe0, 0xee]); // JFIF, and Adobe's note of how colours are stored
const PNG_KEPT = new Set(["IHDR", "PLTE", "tRNS", "IDAT", "IEND"]);

function hasBytes(data, at, text) {
  return [...text].every((letter, index) => data[at + index] === letter.charCodeAt(0));
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// 1 to 8 as Exif counts them; 1, upright, wherever the block is damaged or says nothing.
function exifOrientation(block) {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const isLittle = hasBytes(block, 0, "II*\0");
  if (block.length < 8 || !(isLittle || hasBytes(block, 0, "MM\0*"))) return 1;
  const start = view.getUint32(4, isLittle);
  if (start + 2 > block.length) return 1;
  for (let entry = 0; entry < view.getUint16(start, isLittle); entry++) {
    const at = start + 2 + 12 * entry;
    if (at + 12 > block.length) return 1;
    if (view.getUint16(at, isLittle) !== 274) continue;
    const kind = view.getUint16(at + 2, isLittle);
    const value = kind === 3 ? view.getUint16(at + 8, isLittle) : kind === 4 ? view.getUint32(at + 8, isLittle) : 1;
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

function withoutExifMark(block) {
  return hasBytes(block, 0, "Exif\0\0") ? block.subarray(6) : block;
}

function strippedJpeg(data) {
  const kept = [data.subarray(0, 2)];
  let orientation = 0;
  let at = 2;
  while (at + 4 <= data.length) {
    // Junk between segments is passed over, and so are marks without a length.
    const marker = data[at + 1];
    if (data[at] !== 0xff || marker === 0 || marker === 0xff || marker === 1 || (marker >= 0xd0 && marker <= 0xd9)) {
      at += data[at] === 0xff && marker !== 0xff && marker !== 0 ? 2 : 1;
      continue;
    }
    if (marker === 0xda) {
      kept.push(data.subarray(at));
      break;
    }
    const end = at + 2 + Math.max(2, 256 * data[at + 2] + data[at + 3]);
    if (marker === 0xe1 && !orientation && hasBytes(data, at + 4, "Exif\0\0")) {
      orientation = exifOrientation(data.subarray(at + 10, Math.min(end, data.length)));
    }
    if (JPEG_KEPT.has(marker) || !((marker >= 0xe0 && marker <= 0xef) || marker === 0xfe)) {
      kept.push(data.subarray(at, end));
    }
    at = end;
  }
  return { data: joined(kept), orientation: orientation || 1, type: "image/jpeg" };
}

function strippedPng(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const kept = [data.subarray(0, 8)];
  let orientation = 0;
  let at = 8;
  while (at + 12 <= data.length) {
    const end = at + 12 + view.getUint32(at);
    const kind = String.fromCharCode(...data.subarray(at + 4, at + 8));
    if (kind === "eXIf" && !orientation) orientation = exifOrientation(withoutExifMark(data.subarray(at + 8, end - 4)));
    if (PNG_KEPT.has(kind)) kept.push(data.subarray(at, end));
    if (kind === "IEND") break;
    at = end;
  }
  return { data: joined(kept), orientation: orientation || 1, type: "image/png" };
}

function strippedWebp(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const kept = [data.slice(0, 12)];
  let orientation = 0;
  let at = 12;
  while (at + 8 <= data.length) {
    const size = view.getUint32(at + 4, true);
    const end = at + 8 + size + (size % 2);
    if (hasBytes(data, at, "EXIF") && !orientation) {
      orientation = exifOrientation(withoutExifMark(data.subarray(at + 8, at + 8 + size)));
    }
    if (!["EXIF", "ICCP", "XMP "].some((kind) => hasBytes(data, at, kind))) kept.push(data.slice(at, end));
    at = end;
  }
  if (kept.length > 1 && hasBytes(kept[1], 0, "VP8X")) kept[1][8] &= ~(0x20 | 0x08 | 0x04); // which announce the three
  const whole = joined(kept);
  new DataView(whole.buffer).setUint32(4, whole.length - 8, true);
  return { data: whole, orientation: orientation || 1, type: "image/webp" };
}

// The file as it is decoded here: {data, orientation, type}; of formats that are not known it is left as it is.
function withoutMetadata(data) {
  if (data[0] === 0xff && data[1] === 0xd8) return strippedJpeg(data);
  if (hasBytes(data, 0, "\x89PNG\r\n\x1a\n")) return strippedPng(data);
  if (hasBytes(data, 0, "RIFF") && hasBytes(data, 8, "WEBP")) return strippedWebp(data);
  return { data, orientation: 1, type: "" };
}

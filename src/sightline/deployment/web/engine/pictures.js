"use strict";
// A decoded picture, upright and in the colours of the network, some rows at a time: a telephone has no room for more.

const PIXELS_AT_ONCE = 1 << 20;
const MOST_PIXELS = 108000000;

// Laid over white as Pillow does it, which counts in 7 bits more than a byte. What a canvas rounds where it multiplies by
// alpha is rounded the same here.
function overWhite(level, alpha) {
  const share = alpha * 128;
  const sum = level * share + 255 * (255 * 128 - share) + (0x80 << 7);
  return (((sum >>> 8) + sum) >>> 8) >>> 7;
}

// Bytes of red, green, blue and alpha to those of the network.
function inColors(bytes, channels, isInverted) {
  const found = new Uint8Array((bytes.length / 4) * channels);
  const turned = isInverted ? 255 : 0;
  for (let from = 0, to = 0; from < bytes.length; from += 4) {
    let red = bytes[from];
    let green = bytes[from + 1];
    let blue = bytes[from + 2];
    const alpha = bytes[from + 3];
    if (alpha < 255) {
      red = overWhite(red, alpha);
      green = overWhite(green, alpha);
      blue = overWhite(blue, alpha);
    }
    if (channels === 1) {
      found[to++] = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) ^ turned;
    } else {
      found[to++] = red ^ turned;
      found[to++] = green ^ turned;
      found[to++] = blue ^ turned;
    }
  }
  return found;
}

// Rows `first` to `last` of the upright picture, from a block of the stored one: rows, or columns where it lies on its side.
function turnedUpright(block, width, numRows, orientation) {
  const isOnItsSide = orientation >= 5;
  const isUpsideDown = [3, 4, 7, 8].includes(orientation);
  const isMirrored = [2, 3, 6, 7].includes(orientation);
  if (!isOnItsSide && !isUpsideDown && !isMirrored) return block;
  const from = new Uint32Array(block.buffer, block.byteOffset, block.length / 4);
  const to = new Uint32Array(from.length);
  for (let row = 0; row < numRows; row++) {
    const fromRow = isUpsideDown ? numRows - 1 - row : row;
    for (let column = 0; column < width; column++) {
      const fromColumn = isMirrored ? width - 1 - column : column;
      to[row * width + column] = from[isOnItsSide ? fromColumn * numRows + fromRow : fromRow * width + fromColumn];
    }
  }
  return new Uint8ClampedArray(to.buffer);
}

// `stored` gives bytes of red, green, blue and alpha of a rectangle: block(left, top, width, height).
function uprightPicture(stored, orientation, channels, isInverted) {
  const isOnItsSide = orientation >= 5;
  const width = isOnItsSide ? stored.height : stored.width;
  const height = isOnItsSide ? stored.width : stored.height;
  const isUpsideDown = [3, 4, 7, 8].includes(orientation);
  return {
    width,
    height,
    channels,
    rowsAtOnce: Math.max(1, Math.floor(PIXELS_AT_ONCE / width)),
    rows(first, last) {
      const [from, to] = isUpsideDown ? [height - last, height - first] : [first, last];
      const block = isOnItsSide ? stored.block(from, 0, to - from, width) : stored.block(0, from, width, to - from);
      return inColors(turnedUpright(block, width, last - first, orientation), channels, isInverted);
    },
  };
}

function storedBitmap(bitmap) {
  const { width, height } = bitmap;
  return {
    width,
    height,
    block(left, top, across, down) {
      const canvas = new OffscreenCanvas(across, down);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(bitmap, -left, -top);
      return context.getImageData(0, 0, across, down).data;
    },
  };
}

async function openedFile(blob) {
  const file = withoutMetadata(new Uint8Array(await blob.arrayBuffer()));
  const type = file.type || blob.type;
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(new Blob([file.data], { type }), options);
  if (bitmap.width * bitmap.height > MOST_PIXELS) throw new Error("too-large");
  return { stored: storedBitmap(bitmap), orientation: file.orientation };
}

// What the network is fed, and whether the picture looks like the inverse of what was learned.
// `given`: a file as a Blob, or an ImageBitmap of a camera or a drawing.
async function networkPixels(given, spec, isInverted) {
  const opened = given instanceof Blob ? await openedFile(given) : { stored: storedBitmap(given), orientation: 1 };
  const channels = spec.channels;
  const picture = uprightPicture(opened.stored, opened.orientation, channels, isInverted);
  return { pixels: resizedPicture(picture, spec), looksInverted: looksInverted(picture, spec) };
}

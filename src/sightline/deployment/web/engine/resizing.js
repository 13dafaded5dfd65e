"use strict";
// The one resize, written once more: Pillow's filters in two passes, in whole numbers, to the last bit.

const PRECISION = 22;
const PADDING = { dark: 0, light: 255, mixed: 128 };
const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight: (x) => {
      const far = Math.abs(x);
      if (far < 1) return (1.5 * far - 2.5) * far * far + 1;
      return far < 2 ? (((far - 5) * far + 8) * far - 4) * -0.5 : 0;
    },
  },
  area: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
};

// Which pixels from `begin` to `end` make each of `wanted`, and how much each of them counts, in 22 bits.
function filterWeights(size, begin, end, wanted, filter) {
  const step = Math.fround(end - begin) / wanted;
  const wide = Math.max(1, step);
  const support = filter.support * wide;
  const width = Math.ceil(support) * 2 + 1;
  const found = { first: new Int32Array(wanted), count: new Int32Array(wanted), width, values: new Int32Array(wanted * width) };
  const weights = new Float64Array(width);
  for (let index = 0; index < wanted; index++) {
    const center = begin + (index + 0.5) * step;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(size, Math.trunc(center + support + 0.5)) - first;
    let sum = 0;
    for (let at = 0; at < count; at++) sum += weights[at] = filter.weight((at + first - center + 0.5) * (1 / wide));
    for (let at = 0; at < count; at++) {
      const share = sum === 0 ? weights[at] : weights[at] / sum;
      found.values[index * width + at] = Math.trunc(share * (1 << PRECISION) + (share < 0 ? -0.5 : 0.5));
    }
    found.first[index] = first;
    found.count[index] = count;
  }
  return found;
}

function clipped(sum) {
  const level = sum >> PRECISION;
  return level < 0 ? 0 : level > 255 ? 255 : level;
}

// Rows of `across` pixels to rows of as many as the weights are of.
function resampledAcross(rows, numRows, across, channels, weights) {
  const wanted = weights.first.length;
  const found = new Uint8Array(numRows * wanted * channels);
  for (let row = 0, to = 0; row < numRows; row++) {
    for (let column = 0; column < wanted; column++) {
      const from = (row * across + weights.first[column]) * channels;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 1 << (PRECISION - 1);
        for (let at = 0, value = column * weights.width; at < weights.count[column]; at++, value++) {
          sum += rows[from + at * channels + channel] * weights.values[value];
        }
        found[to++] = clipped(sum);
      }
    }
  }
  return found;
}

// The same for columns, summed up as the rows of a picture come.
function resampledDown(picture, weights) {
  const wanted = weights.first.length;
  const rowLength = picture.width * picture.channels;
  const sums = new Int32Array(wanted * rowLength).fill(1 << (PRECISION - 1));
  const end = weights.first[wanted - 1] + weights.count[wanted - 1];
  for (let first = weights.first[0]; first < end; first += picture.rowsAtOnce) {
    const last = Math.min(end, first + picture.rowsAtOnce);
    const rows = picture.rows(first, last);
    for (let row = 0; row < wanted; row++) {
      const begin = Math.max(first, weights.first[row]);
      const until = Math.min(last, weights.first[row] + weights.count[row]);
      for (let from = begin; from < until; from++) {
        const value = weights.values[row * weights.width + from - weights.first[row]];
        const at = (from - first) * rowLength;
        const to = row * rowLength;
        for (let column = 0; column < rowLength; column++) sums[to + column] += rows[at + column] * value;
      }
    }
  }
  return Uint8Array.from(sums, clipped);
}

// Rows that are there already, as a picture.
function ofRows(rows, width, height, channels) {
  const rowLength = width * channels;
  return { width, height, channels, rowsAtOnce: height, rows: (first, last) => rows.subarray(first * rowLength, last * rowLength) };
}

function narrowed(picture, weights, begin, end) {
  const rowLength = weights.first.length * picture.channels;
  const found = new Uint8Array((end - begin) * rowLength);
  for (let first = begin; first < end; first += picture.rowsAtOnce) {
    const last = Math.min(end, first + picture.rowsAtOnce);
    const part = resampledAcross(picture.rows(first, last), last - first, picture.width, picture.channels, weights);
    found.set(part, (first - begin) * rowLength);
  }
  return found;
}

// A part of a picture at another size. `picture` has width, height, channels, rowsAtOnce, and rows(first, last) of bytes.
function resampled(picture, box, width, height, filter) {
  const { channels } = picture;
  const [left, top, right, bottom] = box.map(Math.fround); // as Pillow takes it
  const isSameWidth = width === picture.width && left === 0 && right === width;
  const isSameHeight = height === picture.height && top === 0 && bottom === height;
  const across = isSameWidth ? null : filterWeights(picture.width, left, right, width, filter);
  const down = isSameHeight ? null : filterWeights(picture.height, top, bottom, height, filter);
  if (!down) return across ? narrowed(picture, across, 0, height) : picture.rows(0, height);
  // Rounded between the passes, so that their order shows: Pillow begins with that which leaves out clearly more.
  const isDownFirst = height < picture.height && picture.height - height > 2 * (picture.width - width);
  if (!across || isDownFirst) {
    const lower = ofRows(resampledDown(picture, down), picture.width, height, channels);
    return across ? narrowed(lower, across, 0, height) : lower.rows(0, height);
  }
  const begin = down.first[0];
  const end = down.first[height - 1] + down.count[height - 1];
  const used = ofRows(narrowed(picture, across, begin, end), width, end - begin, channels);
  return resampledDown(used, { ...down, first: down.first.map((first) => first - begin) });
}

function roundedToEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}

// The largest part in the middle that has the network's proportions: left, top, right, bottom.
function middleBox(width, height, spec) {
  const scale = Math.min(width / spec.width, height / spec.height);
  const across = Math.min(width, spec.width * scale) / 2;
  const down = Math.min(height, spec.height * scale) / 2;
  return [
    Math.max(0, width / 2 - across),
    Math.max(0, height / 2 - down),
    Math.min(width, width / 2 + across),
    Math.min(height, height / 2 + down),
  ];
}

// The pixels that the network takes, height x width x channels, of an upright picture of as many channels.
function resizedPicture(picture, spec) {
  const filter = FILTERS[spec.interpolation];
  const whole = [0, 0, picture.width, picture.height];
  if (picture.width === spec.width && picture.height === spec.height) return resampled(picture, whole, spec.width, spec.height, filter);
  if (spec.resize === "stretch") return resampled(picture, whole, spec.width, spec.height, filter);
  if (spec.resize === "fill") {
    return resampled(picture, middleBox(picture.width, picture.height, spec), spec.width, spec.height, filter);
  }
  const scale = Math.min(spec.height / picture.height, spec.width / picture.width);
  const height = Math.min(spec.height, Math.max(1, roundedToEven(picture.height * scale)));
  const width = Math.min(spec.width, Math.max(1, roundedToEven(picture.width * scale)));
  const inner = resampled(picture, whole, width, height, filter);
  const top = Math.floor((spec.height - height) / 2);
  const left = Math.floor((spec.width - width) / 2);
  const pixels = new Uint8Array(spec.height * spec.width * picture.channels).fill(PADDING[spec.background]);
  const rowLength = width * picture.channels;
  for (let row = 0; row < height; row++) {
    const place = ((top + row) * spec.width + left) * picture.channels;
    pixels.set(inner.subarray(row * rowLength, (row + 1) * rowLength), place);
  }
  return pixels;
}

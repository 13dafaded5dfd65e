"use strict";
// Whether a picture is clearly the inverse of what the network learned from: ink on paper where it learned light on dark.

const DARK = 80;
const LIGHT = 110;
const LEAST_CONTRAST = 40;

// Of numbers that are counted by their value, 0 to 255, as NumPy interpolates.
function percentile(counts, share) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const place = (share / 100) * (total - 1);
  const at = (rank) => {
    let seen = 0;
    return counts.findIndex((count) => (seen += count) > rank);
  };
  const below = at(Math.floor(place));
  return below + (at(Math.ceil(place)) - below) * (place - Math.floor(place));
}

function brightness(rows, at, channels) {
  if (channels === 1) return rows[at];
  return roundedToEven(0.299 * rows[at] + 0.587 * rows[at + 1] + 0.114 * rows[at + 2]);
}

function looksInverted(picture, spec) {
  const { width, height, channels } = picture;
  if (spec.background === "mixed") return false;
  const ring = Math.max(1, Math.floor(Math.min(width, height) / 30));
  const step = Math.max(1, Math.floor(Math.min(width, height) / 256));
  const border = new Array(256).fill(0);
  const sampled = new Array(256).fill(0);
  for (let first = 0; first < height; first += picture.rowsAtOnce) {
    const last = Math.min(height, first + picture.rowsAtOnce);
    const rows = picture.rows(first, last);
    for (let row = first; row < last; row++) {
      const isEdge = row < ring || row >= height - ring;
      for (let column = 0; column < width; column++) {
        const isBorder = isEdge || column < ring || column >= width - ring;
        const isSampled = row % step === 0 && column % step === 0;
        if (!isBorder && !isSampled) continue;
        const level = brightness(rows, ((row - first) * width + column) * channels, channels);
        if (isBorder) border[level]++;
        if (isSampled) sampled[level]++;
      }
    }
  }
  const isDark = percentile(border, 75) <= DARK;
  const isLight = percentile(border, 25) >= LIGHT;
  if (spec.background === "dark" ? !isLight : !isDark) return false;
  const middle = percentile(border, 50);
  const below = middle - percentile(sampled, 0.5);
  const above = percentile(sampled, 99.5) - middle;
  if (spec.background === "dark") return below >= Math.max(LEAST_CONTRAST, above);
  return above >= Math.max(LEAST_CONTRAST, below);
}

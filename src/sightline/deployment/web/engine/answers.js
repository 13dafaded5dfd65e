"use strict";
// From what the network says to what a person is told: probabilities, a set, and whether to doubt it.

const LARGEST_GAP = 1e290;
const NOVELTY_MARGIN = 1e-3;

function softmax(logits, temperature) {
  const largest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

// Of each class how much more it weighs than all others, as a logarithm, at no temperature.
function logOdds(logits) {
  const largest = Math.max(...logits);
  const best = logits.indexOf(largest);
  const gaps = Array.from(logits, (logit) => Math.max(logit - largest, -LARGEST_GAP));
  const others = gaps.map((gap, index) => (index === best ? -Infinity : gap));
  const second = Math.max(...others);
  // Without the best the weights are summed from the second on: beside the best they would vanish.
  const rest = second + Math.log(others.reduce((sum, gap) => sum + Math.exp(gap - second), 0));
  const weights = others.map(Math.exp);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return gaps.map((gap, index) => (index === best ? -rest : gap - Math.log1p(total - weights[index])));
}

// By the hyperbolic tangent: no exponential overflows.
const sigmoid = (logit, temperature) => 0.5 * (1 + Math.tanh(logit / temperature / 2));

const byProbability = (probabilities) =>
  probabilities.map((_, index) => index).sort((one, other) => probabilities[other] - probabilities[one] || one - other);

// Of several labels each by itself: it is said from its threshold on, and in the set from a lower one on.
function labelsOf(logits, { temperature, thresholds, promises, levels }) {
  const probabilities = Array.from(logits, (logit) => sigmoid(logit, temperature));
  const order = byProbability(probabilities);
  const least = levels.sets === null ? undefined : promises.sets[levels.sets];
  const set = least === undefined ? null : order.filter((index) => least === null || logits[index] >= least[index]);
  const labels = order.filter((index) => logits[index] >= thresholds[index]);
  return { probabilities, order, labels, set, unsure: null, novel: null };
}

// `promises` as the description has them; `levels`: {sets, unsure, novel}, names of levels, or null for what is not asked;
// `thresholds`: where a picture may have several labels, the logit from which on each is said.
function answerOf(logits, novelty, { temperature, thresholds = null, promises, levels }) {
  if (thresholds !== null) return labelsOf(logits, { temperature, thresholds, promises, levels });
  const probabilities = softmax(logits, temperature);
  const order = byProbability(probabilities);
  const odds = logOdds(logits);
  const answer = { probabilities, order, labels: null, set: null, unsure: null, novel: null };
  const limitOf = (kind) => (levels[kind] === null ? undefined : promises[kind][levels[kind]]);
  const least = limitOf("sets");
  if (least !== undefined) answer.set = order.filter((index) => index === order[0] || least === null || odds[index] >= least);
  const sure = limitOf("unsure");
  if (sure !== undefined) answer.unsure = sure !== null && odds[order[0]] < sure;
  const most = limitOf("novel");
  // Not above is not the same as at most: a distance that is no number is novel.
  if (most !== undefined && novelty !== null) answer.novel = most !== null && !(novelty <= most * (1 + NOVELTY_MARGIN));
  return answer;
}

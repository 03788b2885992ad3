// Exponential moving averages.

/**
 * The exponential moving average of `values` (a typed array), debiased as TensorBoard and W&B do it:
 * divided by the weight that it has so far, so that it does not begin near zero. `weight` from 0
 * (nothing is smoothed) to below 1. What is not finite leaves a gap and does not spread.
 */
export function smooth(values, weight) {
  const smoothed = new Float64Array(values.length);
  let average = 0;
  let total = 0; // of the weights, 1 - weight ** n
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i];
    if (!Number.isFinite(value)) {
      smoothed[i] = NaN;
      continue;
    }
    average = average * weight + (1 - weight) * value;
    total = total * weight + (1 - weight);
    smoothed[i] = average / total;
  }
  return smoothed;
}

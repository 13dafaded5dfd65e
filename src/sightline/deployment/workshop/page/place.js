// Where somebody is: the step, the source and the run, all in the address, so that a reload comes back to it.

/** The step, with what was chosen: source, run, and what else the address says. */
export function place() {
  const [step, query] = location.hash.replace(/^#/, "").split("?");
  const chosen = Object.fromEntries(new URLSearchParams(query ?? ""));
  return { ...chosen, step: step || "pictures" };
}

/** The address of a step with what is chosen; source and run are kept, all else is as `changed` says. */
export function address(step, changed = {}) {
  const { source, run } = place();
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ source, run, ...changed })) {
    if (value !== undefined && value !== null) query.set(name, value);
  }
  return `#${step}?${query}`;
}

/** Go there. */
export const go = (step, changed) => location.assign(address(step, changed));

/** Remember a choice in the address without leaving. */
export const note = (step, changed) => history.replaceState(null, "", address(step, changed));

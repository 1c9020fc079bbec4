// Large coding jobs run on threads of the process, and no seed decides when those end. In a simulation they run at once.

import { kernels } from "../../native/kernels.ts";

export function codeOnThisThread(): void {
  const all = kernels();
  all.encodeAsync = async (bits, coefficients, sources, targets) => all.encode(bits, coefficients, sources, targets);
}

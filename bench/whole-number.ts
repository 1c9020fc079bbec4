import { InvalidArgumentError } from "commander";

/** The option's value: a whole number from 1 to 99,999,999. */
export function wholeNumber(option: string, text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text))
    throw new InvalidArgumentError(`${option} is ${JSON.stringify(text)}, it must be a whole number from 1 on`);
  return Number(text);
}

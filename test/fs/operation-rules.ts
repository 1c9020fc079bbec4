import assert from "node:assert/strict";
import test from "node:test";
import { operationMessages } from "../../fs/message-schema.ts";
import { OPERATIONS } from "../../fs/namespace/calls.ts";
import { BLOCK_RULES, OPERATION_RULES } from "../../fs/operation-rules.ts";
import { blockOperations } from "../../replication/block-messages.ts";

test("every operation has its row, and what runs as a transaction has what carries it out", () => {
  assert.deepEqual(Object.keys(OPERATION_RULES).sort(), Object.keys(operationMessages).sort());
  assert.deepEqual(Object.keys(BLOCK_RULES).sort(), Object.keys(blockOperations).sort());
  const transactions = Object.entries(OPERATION_RULES).filter(([, { runs }]) => runs !== "directly");
  assert.deepEqual(transactions.map(([name]) => name).sort(), Object.keys(OPERATIONS).sort());
});

test("whatever changes something is done once, and is not sent again under another session", () => {
  for (const [name, { once, entry, renewable, synced }] of Object.entries(OPERATION_RULES)) {
    assert.equal(once, entry !== "none", name);
    if (once) assert.equal(renewable, false, name);
    if (synced) assert.equal(once, true, name);
  }
});

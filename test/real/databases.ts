import assert from "node:assert/strict";
import test from "node:test";
import { mountFor } from "./mounted.ts";
import { lacking } from "../fixture/lacking.ts";
import { shell } from "./programs.ts";

const skip = lacking("sqlite3");

/** 150 transactions of rows, an update and a delete; then what is there must be right. */
const WORK = `
  sqlite3 -bail db "create table t(id integer primary key, text text); create index i on t(text);"
  for i in 1 2; do
    (echo ".timeout 20000"; for j in $(seq 75); do echo "begin immediate; insert into t(text) values('row $i $j'); insert into t(text) values(hex(randomblob(200))); commit;"; done) | sqlite3 -bail db
  done
  sqlite3 -bail db "update t set text = text || '!' where id % 3 = 0; delete from t where id % 5 = 0; vacuum; pragma integrity_check; select count(*) from t;"`;

for (const mode of ["delete", "truncate", "persist", "wal"]) {
  test(`sqlite3 works with journal mode ${mode}`, { skip }, async (t) => {
    const store = await mountFor(t);
    assert.equal(await shell(`sqlite3 db "pragma journal_mode=${mode}"`, store.directory), `${mode}\n`);
    assert.equal((await shell(WORK, store.directory)).replace(/^wal\n/, ""), "ok\n240\n");
  });
}

for (const mode of ["delete", "wal"]) {
  test(`three sqlite3 processes write one database in journal mode ${mode} and lose no row`, { skip }, async (t) => {
    const store = await mountFor(t);
    const script = `
      sqlite3 db "pragma journal_mode=${mode}; create table t(writer, number);" >/dev/null
      writer() { (echo ".timeout 60000"; for j in $(seq 60); do echo "insert into t values($1, $j);"; done) | sqlite3 -bail db; }
      writer 1 & writer 2 & writer 3 &
      for job in $(jobs -p); do wait $job; done
      sqlite3 db "pragma integrity_check; select writer, count(*), sum(number) from t group by writer;"`;
    assert.equal(await shell(script, store.directory), "ok\n1|60|1830\n2|60|1830\n3|60|1830\n");
  });
}

test("a sqlite3 transaction that was never committed is rolled back by the next process", { skip }, async (t) => {
  const store = await mountFor(t);
  const script = `
    sqlite3 db "create table t(a); insert into t values(1);"
    (echo "pragma cache_size=5; begin; insert into t select randomblob(1000) from (with recursive c(x) as (select 1 union all select x+1 from c limit 2000) select x from c);"; echo ".shell kill -9 \\$PPID") | sqlite3 db || true
    sqlite3 db "pragma integrity_check; select count(*) from t;"`;
  assert.equal(await shell(script, store.directory), "ok\n1\n");
});

"""What lies in PostgreSQL: tables and two functions, each of which is one statement for the caller and so one transaction.

Locks are taken in one order: a booking its reservation, then the heads of accounts by name, then the usage. A head is locked
before anything of its account is read, so that two reservations never see the same room (THREATS B.1).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

VERSION = 1

TABLES = (
    "CREATE TABLE meta (version integer NOT NULL, generation text NOT NULL, day bigint NOT NULL)",
    "CREATE TABLE heads (account text PRIMARY KEY, window_id bigint NOT NULL)",
    """CREATE TABLE sums (
        account text NOT NULL, window_id bigint NOT NULL, used bigint NOT NULL, held bigint NOT NULL CHECK (held >= 0),
        PRIMARY KEY (account, window_id)) WITH (fillfactor = 50)""",
    """CREATE TABLE reservations (
        id text PRIMARY KEY, state text NOT NULL, nonce text NOT NULL, created_us bigint NOT NULL,
        closed_at timestamptz, windows bigint[] NOT NULL, row text NOT NULL) WITH (fillfactor = 70)""",
    "CREATE INDEX open_holds ON reservations (created_us) WHERE state = 'held'",
    "CREATE INDEX closed ON reservations (closed_at) WHERE closed_at IS NOT NULL",
    """CREATE TABLE usage (
        day text NOT NULL, provider text NOT NULL, model text NOT NULL, operation text NOT NULL,
        requests bigint NOT NULL, input_tokens bigint NOT NULL, output_tokens bigint NOT NULL, micro_usd bigint NOT NULL,
        unpriced_requests bigint NOT NULL, PRIMARY KEY (day, provider, model, operation)) WITH (fillfactor = 50)""",
)

# `cost` is null for accounts with windows; of a rate, `used` is the microsecond at which everything taken has flowed off.
RESERVE = """
CREATE FUNCTION reserve(
    generation_ text, id_ text, nonce_ text, created_ bigint, row_ text, names text[], computed bigint[], asked bigint[],
    ceilings bigint[], costs bigint[], bursts bigint[], now_us bigint,
    OUT outcome text, OUT index_ integer, OUT window_ bigint, OUT used_ bigint, OUT held_ bigint, OUT windows_ bigint[])
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    i integer;
    known record;
BEGIN
    windows_ := '{}';
    IF NOT EXISTS (SELECT FROM meta WHERE generation = generation_) THEN outcome := 'gone'; RETURN; END IF;
    SELECT nonce, windows INTO known FROM reservations WHERE id = id_;
    IF FOUND THEN
        outcome := CASE WHEN known.nonce = nonce_ THEN 'held' ELSE 'twice' END;
        windows_ := known.windows;
        RETURN;
    END IF;
    INSERT INTO heads SELECT account, first FROM unnest(names, computed) AS one(account, first) ORDER BY account
        ON CONFLICT DO NOTHING;
    PERFORM FROM heads WHERE account = ANY (names) ORDER BY account FOR UPDATE;
    FOR i IN 1 .. coalesce(cardinality(names), 0) LOOP
        SELECT greatest(heads.window_id, computed[i]) INTO window_ FROM heads WHERE account = names[i];
        SELECT used, held INTO used_, held_ FROM sums WHERE account = names[i] AND window_id = window_;
        used_ := coalesce(used_, 0); held_ := coalesce(held_, 0);
        IF costs[i] IS NULL THEN
            IF used_ + held_ + asked[i] > ceilings[i] THEN outcome := 'full'; index_ := i - 1; RETURN; END IF;
        ELSIF greatest(used_, now_us) + costs[i] - now_us > bursts[i] THEN
            outcome := 'full'; index_ := i - 1; RETURN;
        END IF;
        windows_ := windows_ || window_;
    END LOOP;
    FOR i IN 1 .. coalesce(cardinality(names), 0) LOOP
        UPDATE heads SET window_id = windows_[i] WHERE account = names[i] AND window_id < windows_[i];
        IF FOUND THEN
            DELETE FROM sums WHERE account = names[i] AND window_id < windows_[i] - 1 AND held = 0;
        END IF;
        IF costs[i] IS NULL THEN
            INSERT INTO sums AS old VALUES (names[i], windows_[i], 0, asked[i])
                ON CONFLICT (account, window_id) DO UPDATE SET held = old.held + asked[i];
        ELSE
            INSERT INTO sums AS old VALUES (names[i], windows_[i], now_us + costs[i], 0)
                ON CONFLICT (account, window_id) DO UPDATE SET used = greatest(old.used, now_us) + costs[i];
        END IF;
    END LOOP;
    INSERT INTO reservations VALUES (id_, 'held', nonce_, created_, NULL, windows_, row_);
    outcome := 'held';
EXCEPTION WHEN unique_violation THEN
    outcome := 'twice';
END $$
"""

BOOK = """
CREATE FUNCTION book(
    generation_ text, id_ text, was text, becomes text, row_ text, key text[], added bigint[], names text[],
    windows_ bigint[], used_ bigint[], held_ bigint[]) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    i integer;
BEGIN
    IF NOT EXISTS (SELECT FROM meta WHERE generation = generation_) THEN RETURN 'gone'; END IF;
    UPDATE reservations SET state = becomes, row = row_, closed_at = now() WHERE id = id_ AND state = was;
    IF NOT FOUND THEN RETURN 'changed'; END IF;
    PERFORM FROM heads WHERE account = ANY (names) ORDER BY account FOR UPDATE;
    FOR i IN 1 .. coalesce(cardinality(names), 0) LOOP
        UPDATE sums SET used = used + used_[i], held = held + held_[i]
            WHERE account = names[i] AND window_id = windows_[i];
        IF NOT FOUND THEN
            INSERT INTO sums VALUES (names[i], windows_[i], used_[i], held_[i]);
        END IF;
    END LOOP;
    IF key IS NOT NULL THEN
        INSERT INTO usage AS known VALUES (key[1], key[2], key[3], key[4], added[1], added[2], added[3], added[4], added[5])
            ON CONFLICT (day, provider, model, operation) DO UPDATE SET
                requests = known.requests + added[1], input_tokens = known.input_tokens + added[2],
                output_tokens = known.output_tokens + added[3], micro_usd = known.micro_usd + added[4],
                unpriced_requests = known.unpriced_requests + added[5];
    END IF;
    RETURN 'done';
END $$
"""

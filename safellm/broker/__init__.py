"""The broker: a process that owns vault, ledger and trail; programs hold grants only (promises P2, P3)."""

# SPDX-License-Identifier: Apache-2.0

"""Use of the audit trail: search it, sum it up, show it as a page, hand it to other systems."""

# SPDX-License-Identifier: Apache-2.0

"""Redaction of one text and the way back, as pure functions: guards and the standalone API are built on them."""
# SPDX-License-Identifier: Apache-2.0

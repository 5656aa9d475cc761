"""Plug-ins: how they are found, and what stands around those that keep or pass on something."""
# SPDX-License-Identifier: Apache-2.0

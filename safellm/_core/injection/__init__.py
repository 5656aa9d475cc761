"""Signs of prompt injection in text: views of it, signals (rules), a small linear model of ours, and the score of all three."""

# SPDX-License-Identifier: Apache-2.0

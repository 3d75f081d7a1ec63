#!/usr/bin/env python3
"""Writes unicode_tables.inc from Python's unicodedata: decompositions, combining classes, compositions left out."""
import sys
import unicodedata

HANGUL = range(0xAC00, 0xD7A4)  # by arithmetic


def decomposed(form, c):
    text = unicodedata.normalize(form, chr(c))
    return [ord(d) for d in text] if text != chr(c) else None


def number(n):
    return f"0x{n:X}" if n > 9 else str(n)


def array(name, comment, numbers):
    lines, line = [], " "
    for n in numbers:
        item = f" {number(n)},"
        if len(line) + len(item) > 99:
            lines.append(line)
            line = " "
        line += item
    lines.append(line)
    body = "\n".join(lines)
    return f"// {comment}\nconstexpr std::uint32_t {name}[] = {{\n{body}\n}};\n"


def main():
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c not in HANGUL]
    canonical, compatible, runs, composed = [], [], [], []
    for c in points:
        nfd, nfkd = decomposed("NFD", c), decomposed("NFKD", c)
        if nfd:
            canonical += [c, len(nfd), *nfd]
            # A primary composite: its one-step decomposition is a pair that NFC puts together again.
            pair = [int(x, 16) for x in unicodedata.decomposition(chr(c)).split()]
            if len(pair) == 2 and unicodedata.normalize("NFC", chr(pair[0]) + chr(pair[1])) == chr(c):
                composed += [pair[0], pair[1], c]
        if nfkd and nfkd != nfd:
            last = runs[-1] if runs else None
            if len(nfkd) == 1 and last and last[1] + 1 == c and last[2] + c - last[0] == nfkd[0]:
                last[1] = c
            elif len(nfkd) == 1:
                runs.append([c, c, nfkd[0]])
            else:
                compatible += [c, len(nfkd), *nfkd]
    classes = []
    for c in points:
        k = unicodedata.combining(chr(c))
        if k and classes and classes[-1][1] + 1 == c and classes[-1][2] == k:
            classes[-1][1] = c
        elif k:
            classes.append([c, c, k])
    out = [
        "// Tables of Unicode normalization, written by make_unicode_tables.py; do not edit.\n//\n"
        f"// Unicode {unicodedata.unidata_version}.\n",
        array("kCanonical", "character, length, its full canonical decomposition", canonical),
        array("kCompatible", "the same for NFKD, where it differs", compatible),
        array("kCompatibleRuns", "first, last, what the first one becomes under NFKD", sum(runs, [])),
        array("kComposed", "first, second, the character they compose to", composed),
        array("kCombining", "first, last, canonical combining class", sum(classes, [])),
    ]
    sys.stdout.write("\n".join(out))


if __name__ == "__main__":
    main()

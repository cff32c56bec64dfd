"""Text that was decoded in the wrong encoding and saved so (`schÃ¶n`), turned back.

`ftfy` knows which sequences of characters hardly arise otherwise. It is asked about texts beyond ASCII alone.
"""

import polars as pl


def without_mojibake(text: pl.Expr) -> pl.Expr:
    """Decode each text as it should have been, also what was spoilt several times; others stay as they are."""
    return text.map_batches(_repaired, return_dtype=pl.String, is_elementwise=True)


def _repaired(texts: pl.Series) -> pl.Series:
    from ftfy import fix_encoding

    may_be_spoilt = texts.str.contains(r"[^\x00-\x7f]").fill_null(value=False)
    found = texts.filter(may_be_spoilt)
    if found.is_empty():
        return texts
    repaired = pl.Series([fix_encoding(one) for one in found], dtype=pl.String)
    return texts.scatter(may_be_spoilt.arg_true(), repaired)

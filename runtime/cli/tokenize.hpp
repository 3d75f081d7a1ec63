// Lines of JSON through a tokenizer: what `sluice tokenize` does with its standard input.
#pragma once

#include <iosfwd>

#include "kernels/base/result.hpp"
#include "runtime/tokenizer/tokenizer.hpp"

namespace sluice {

struct TokenizeOptions {
  EncodeOptions encode;
  DecodeOptions decode;
  bool to_text = false;  ///< lines are lists of ids, not strings
};

/// One JSON value a line in, one a line out, in order; text goes out in ASCII with \u escapes.
/// A line that is not what is expected ends it with an Error that names the line. Output is flushed
/// whenever no further input is at hand, so that a peer that waits for an answer gets it.
Status tokenize_lines(const Tokenizer& tokenizer, const TokenizeOptions& options, std::istream& in,
                      std::ostream& out);

}  // namespace sluice

// Documents of corpus files, one after the other, in bounded memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "kernels/base/result.hpp"
#include "runtime/data/file_list.hpp"

namespace sluice {

/// A document, or a slice of a long one.
struct DocumentSlice {
  std::string_view text;             ///< not empty; may hold ill-formed UTF-8
  std::uint64_t document_bytes = 0;  ///< of the whole document
  bool first = true;
  bool last = true;
};

/// A longer text file comes in slices of about this size, cut after a line's end where there is
/// one, else between characters.
inline constexpr std::size_t kSliceBytes = std::size_t{4} << 20;
/// A longer line of a .jsonl file is an Error.
inline constexpr std::size_t kLineBytesMax = std::size_t{256} << 20;

/// Calls each(slice) for the documents of a file, in order, and stops at its first Error. A text
/// file is one document; a .jsonl file has one a line (blank lines are skipped). Empty ones are
/// left out.
Status for_each_document(const CorpusFile& file,
                         const std::function<Status(const DocumentSlice&)>& each);

/// The text of one line of a .jsonl file: {"text": "...", ...}.
Result<std::string> jsonl_text(std::string_view line);

}  // namespace sluice

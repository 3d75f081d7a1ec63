// The pre-tokenizer of a tokenizer.json: cuts text into the pieces that BPE sees.
//
// Steps act in turn, each on the pieces of the one before; a pattern sees nothing beyond its piece.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernels/base/result.hpp"
#include "runtime/tokenizer/regex.hpp"

namespace sluice {

/// Some text and the pieces of it that count, in order.
struct Pieces {
  struct Range {
    std::size_t begin;
    std::size_t end;
  };
  std::string_view text;
  std::string rewritten;  ///< what `text` refers to once a step has changed characters
  std::vector<Range> ranges;
  bool at_start = false;  ///< the first piece begins where the whole input begins

  [[nodiscard]] std::string_view piece(Range range) const {
    return text.substr(range.begin, range.end - range.begin);
  }
};

class PreTokenizer {
 public:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Split {
    Regex pattern;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;  ///< what lies between matches counts as the match
  };
  struct PrefixSpace {};  ///< a space before each piece that has none
  struct ByteLetters {};
  struct Metaspace {
    enum class Prepend { kAlways, kFirst, kNever };
    std::string replacement = "\xE2\x96\x81";  // U+2581
    Prepend prepend = Prepend::kAlways;
    bool split = true;
  };
  using Step = std::variant<Split, PrefixSpace, ByteLetters, Metaspace>;

  void add(Step step) { steps_.push_back(std::move(step)); }

  /// True if BPE has to write the pieces as byte letters: a last ByteLetters step is left to it.
  [[nodiscard]] bool byte_letters() const {
    return !steps_.empty() && std::holds_alternative<ByteLetters>(steps_.back());
  }

  /// Cuts well-formed text; `pieces` refers to it. `at_start`: nothing of the input precedes it.
  Status run(std::string_view text, bool at_start, Regex::Scratch& scratch, Pieces& pieces) const;

  /// ByteLevel's own pattern, GPT-2's.
  static constexpr std::string_view kByteLevelPattern =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

 private:
  std::vector<Step> steps_;
};

}  // namespace sluice

// The normalizer of a tokenizer.json: what happens to text before it is cut.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernels/base/result.hpp"
#include "runtime/tokenizer/normalization_form.hpp"
#include "runtime/tokenizer/regex.hpp"

namespace sluice {

class Normalizer {
 public:
  struct Prepend {  ///< to text that is not empty
    std::string prefix;
  };
  struct Replace {
    Regex pattern;
    std::string content;
  };
  struct ReplaceLiteral {
    std::string pattern;  ///< not empty
    std::string content;
  };
  struct Strip {
    bool left = true;
    bool right = true;
  };
  struct ByteLetters {};
  using Step =
      std::variant<Prepend, Replace, ReplaceLiteral, Strip, ByteLetters, NormalizationForm>;

  void add(Step step) { steps_.push_back(std::move(step)); }
  [[nodiscard]] bool empty() const { return steps_.empty(); }

  /// Normalises well-formed text.
  Result<std::string> run(std::string text, Regex::Scratch& scratch) const;

 private:
  std::vector<Step> steps_;
};

/// `text` with every `from` (not empty) replaced.
[[nodiscard]] std::string replace_all(std::string_view text, std::string_view from,
                                      std::string_view to);

}  // namespace sluice

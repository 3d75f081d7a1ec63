// Regular expressions of tokenizer.json (Oniguruma's dialect, Ruby syntax) on PCRE2.
//
// Differences that regex_translate.cpp evens out: \s is White_Space (PCRE2 adds U+180E), \w holds
// marks and connectors, \p{Script} means Script and not Script_Extensions, \h is a hexadecimal
// digit, a class may hold classes and intersections (&&), ^ and $ are ends of lines.
//
// A pattern comes from a file, so nothing about it is trusted: PCRE2's limits on pattern size,
// nesting, backtracking and memory hold, and running into one is an Error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/base/result.hpp"

namespace sluice {

/// The same pattern in PCRE2's dialect (options UTF, UCP, MULTILINE).
[[nodiscard]] std::string to_pcre2(std::string_view pattern);

/// `text` as a pattern that matches just it.
[[nodiscard]] std::string escape_pattern(std::string_view text);

struct Match {
  std::size_t begin = 0;
  std::size_t end = 0;
};

class Regex {
 public:
  static Result<Regex> compile(std::string_view pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// What one thread needs to match; any Regex can use it.
  class Scratch {
   public:
    Scratch();
    Scratch(Scratch&&) noexcept;
    Scratch& operator=(Scratch&&) noexcept;
    ~Scratch();

   private:
    friend class Regex;
    struct State;
    std::unique_ptr<State> state_;
  };

  /// The leftmost match at or after `from` in well-formed UTF-8; false if there is none.
  Result<bool> find(std::string_view text, std::size_t from, Match& match, Scratch& scratch) const;

  /// Calls each(begin, end, is_match) for the non-empty stretches of `text`, in order, matches and
  /// what lies between them. Empty matches cut, as in Oniguruma's iteration.
  template <class Each>
  Status split(std::string_view text, Scratch& scratch, Each&& each) const {
    std::size_t previous = 0, from = 0;
    bool matched_before = false;
    Match match;
    while (from <= text.size()) {
      SLUICE_ASSIGN(const bool found, find(text, from, match, scratch));
      if (!found) break;
      if (match.begin == match.end && matched_before && match.end == previous) {
        from = next_character(text, from);
        continue;
      }
      if (previous != match.begin) each(previous, match.begin, false);
      if (match.begin != match.end) each(match.begin, match.end, true);
      previous = from = match.end;
      matched_before = true;
    }
    if (previous != text.size()) each(previous, text.size(), false);
    return {};
  }

 private:
  struct Program;
  explicit Regex(std::unique_ptr<Program> program);
  static std::size_t next_character(std::string_view text, std::size_t at);

  std::unique_ptr<Program> program_;
};

}  // namespace sluice

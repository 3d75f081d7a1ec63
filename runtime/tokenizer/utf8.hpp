// UTF-8: code points in and out of bytes, and ill-formed input made well-formed.
//
// Ill-formed bytes become U+FFFD, one per maximal subpart (Unicode 15, section 3.9, "U+FFFD
// Substitution of Maximal Subparts"), which is what Python's errors="replace" and Rust's
// from_utf8_lossy give.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// What stands at the head of some bytes.
struct Utf8Head {
  enum class Kind {
    kCharacter,   ///< `size` bytes are the character `code_point`
    kIllFormed,   ///< `size` bytes are a maximal subpart: one U+FFFD
    kUnfinished,  ///< all `size` bytes are the beginning of a character
  };
  Kind kind = Kind::kCharacter;
  std::size_t size = 0;
  char32_t code_point = 0;
};

/// `bytes` is not empty.
[[nodiscard]] Utf8Head utf8_head(std::string_view bytes);

/// The character at the head of well-formed, non-empty `text`, and the number of its bytes.
[[nodiscard]] char32_t utf8_front(std::string_view text, std::size_t& size);

void append_utf8(std::string& out, char32_t code_point);

/// Number of leading bytes that are well-formed.
[[nodiscard]] std::size_t utf8_valid_prefix(std::string_view bytes);

/// `bytes` with every ill-formed part replaced; an unfinished character at the end as well.
[[nodiscard]] std::string to_valid_utf8(std::string_view bytes);

/// Unicode's White_Space: what \s is to the tokenizers.
[[nodiscard]] bool is_white_space(char32_t code_point);

/// Bytes in, whole characters out.
///
/// A character goes out with its last byte, ill-formed bytes as soon as nothing can complete them;
/// ED A0..BF, a surrogate's beginning, waits for a third byte, as in CPython's incremental decoder.
class Utf8Stream {
 public:
  void push(std::string_view bytes, std::string& out);
  /// What is still held back, as U+FFFD.
  void finish(std::string& out);

 private:
  std::string held_;
};

}  // namespace sluice

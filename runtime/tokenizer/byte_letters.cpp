// Both directions as tables made once at compile time.
#include "runtime/tokenizer/byte_letters.hpp"

#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

constexpr bool prints(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr int kLetters = 0x100 + 68;  // 68 bytes do not print

constexpr std::array<std::uint16_t, 256> kLetterOf = [] {
  std::array<std::uint16_t, 256> table{};
  std::uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    table[byte] = prints(byte) ? static_cast<std::uint16_t>(byte) : next++;
  }
  return table;
}();

constexpr std::array<std::int16_t, kLetters> kByteOf = [] {
  std::array<std::int16_t, kLetters> table{};
  for (auto& entry : table) entry = -1;
  for (int byte = 0; byte < 256; ++byte) table[kLetterOf[byte]] = static_cast<std::int16_t>(byte);
  return table;
}();

}  // namespace

char32_t byte_letter(std::uint8_t byte) { return kLetterOf[byte]; }

std::optional<std::uint8_t> letter_byte(char32_t letter) {
  if (letter >= kLetters || kByteOf[letter] < 0) return std::nullopt;
  return static_cast<std::uint8_t>(kByteOf[letter]);
}

void append_byte_letters(std::string& out, std::string_view bytes) {
  for (const char c : bytes) append_utf8(out, kLetterOf[static_cast<std::uint8_t>(c)]);
}

}  // namespace sluice

// GPT-2's byte letters: each byte as one printable character, so that BPE can work on text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

/// The letter of a byte: itself where it prints in Latin-1, else U+0100 and on, in byte order.
[[nodiscard]] char32_t byte_letter(std::uint8_t byte);

/// The byte of a letter.
[[nodiscard]] std::optional<std::uint8_t> letter_byte(char32_t letter);

void append_byte_letters(std::string& out, std::string_view bytes);

}  // namespace sluice

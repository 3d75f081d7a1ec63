// Any bytes as tokenizer.json, what follows a zero byte as tokenizer_config.json: a clear error, or
// a tokenizer that encodes and decodes without end or harm.
#include <array>
#include <cstdint>
#include <string>

#include "kernels/base/check.hpp"
#include "runtime/tokenizer/tokenizer.hpp"
#include "runtime/tokenizer/utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto zero = bytes.find('\0');
  const std::string config = zero == std::string::npos ? "" : bytes.substr(zero + 1);
  const auto tokenizer = Tokenizer::parse(bytes.substr(0, zero), config, "fuzz");
  if (!tokenizer) {
    SLUICE_CHECK(tokenizer.error().message.starts_with("fuzz: "));
    return 0;
  }
  const std::array<std::string, 4> texts = {
      "", "Hello <s> w\u00F6rld,  123\n\n\u4F60\u597D \u2581x",
      std::string(100, 'a') + " b\xFF\xE4\xBD", bytes.substr(0, 64)};
  for (const std::string& text : texts) {
    for (const bool literal : {false, true}) {
      const auto ids =
          tokenizer->encode(text, {.add_special_tokens = !literal, .literal = literal});
      if (!ids) continue;  // a pattern gave up
      const std::string whole = tokenizer->decode(*ids, {.skip_special_tokens = literal});
      SLUICE_CHECK_EQ(utf8_valid_prefix(whole), whole.size());
      for (const auto id : *ids) SLUICE_CHECK(id >= 0 && id < tokenizer->vocab_size());
    }
  }
  return 0;
}

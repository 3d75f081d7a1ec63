// The decoder of a tokenizer.json: token texts to text, one token at a time.
//
// Steps act in turn on a stream of tokens. After ByteLevel or Fuse the stream is one long token
// that arrives in fragments. What a step cannot know yet it holds back, so the joined output is
// always what decoding all tokens at once gives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/tokenizer/pre_tokenizer.hpp"
#include "runtime/tokenizer/regex.hpp"

namespace sluice {

class Decoder {
 public:
  struct ByteLevel {};     ///< byte letters to bytes, ill-formed ones to U+FFFD
  struct ByteFallback {};  ///< runs of <0xNN> to characters, or one U+FFFD a byte
  struct Fuse {};
  struct Replace {
    std::string pattern;  ///< not empty
    std::string content;
  };
  struct Strip {
    char32_t content = ' ';
    std::size_t start = 0;
    std::size_t stop = 0;
  };
  using Metaspace = PreTokenizer::Metaspace;
  struct Suffix {  ///< end_of_word_suffix to a space, nothing after the last token
    std::string suffix;
  };
  struct JoinWithSpaces {};  ///< what a tokenizer without a decoder does
  using Spec = std::variant<ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, Suffix,
                            JoinWithSpaces>;

  void add(Spec spec) { specs_.push_back(std::move(spec)); }

  class Step;
  class Stream {
   public:
    explicit Stream(const Decoder& decoder);
    Stream(Stream&&) noexcept;
    Stream& operator=(Stream&&) noexcept;
    ~Stream();

    /// The text that a token releases.
    std::string push(std::string_view token);
    /// The text that was held back for more tokens.
    std::string finish();
    /// What is held back and complete counts as sent: called once, between prompt and answer.
    void drop_complete();

   private:
    std::vector<std::unique_ptr<Step>> steps_;
  };

 private:
  std::vector<Spec> specs_;
};

}  // namespace sluice

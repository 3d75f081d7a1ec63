// What a tokenizer is made of, and making it from the files' texts.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runtime/tokenizer/added_tokens.hpp"
#include "runtime/tokenizer/bpe.hpp"
#include "runtime/tokenizer/decoder.hpp"
#include "runtime/tokenizer/normalizer.hpp"
#include "runtime/tokenizer/pre_tokenizer.hpp"

namespace sluice {

/// What one thread works with while it encodes.
struct EncodeScratch {
  Regex::Scratch regex;
  Bpe::Scratch bpe;
  Pieces pieces;
  std::vector<AddedTokens::Part> parts;
  std::vector<AddedTokens::Part> inner_parts;
};

struct TokenizerParts {
  TokenizerParts(Bpe model_, AddedTokens added_)
      : model(std::move(model_)), added(std::move(added_)) {}

  Bpe model;
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;
  std::vector<TokenId> prefix;  ///< what add_special_tokens puts before the text
  std::vector<TokenId> suffix;  ///< and after it
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  std::string json;    ///< the files as read
  std::string config;  ///< empty: there is none

  /// Scratches that no thread uses now.
  std::mutex mutex;
  std::vector<std::unique_ptr<EncodeScratch>> idle;
};

/// Reads the texts of tokenizer.json and tokenizer_config.json (empty: none). Errors start with
/// `where` and name the key.
Result<std::unique_ptr<TokenizerParts>> parse_tokenizer(std::string json, std::string config,
                                                        const std::string& where);

/// The texts behind the path "bytes".
[[nodiscard]] std::string bytes_tokenizer_json();
[[nodiscard]] std::string bytes_tokenizer_config();

}  // namespace sluice

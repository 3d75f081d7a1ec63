// Tokenizer: text to token ids and back, as the Hugging Face tokenizer of the same files does.
//
// Goals: a tokenizer.json as it is (BPE models: byte-level as in GPT-2, Llama-3 and DeepSeek-V3,
// and SentencePiece-style with byte fallback) and what of tokenizer_config.json changes ids; time
// linear in the text, whatever the text. Non-goals: other models (Unigram, WordPiece), offsets into
// the text, training.
//
// The special path "bytes" is a tokenizer made here: id = byte for 0..255, then the special tokens
//   256 <｜begin▁of▁sentence｜>  257 <｜end▁of▁sentence｜>  258 <｜fim▁begin｜>  259 <｜fim▁hole｜>
//   260 <｜fim▁end｜>            261 <｜User｜>             262 <｜Assistant｜>  263 <｜▁pad▁｜>
// (vocab_size 264), spelled as DeepSeek-V3 spells them.
//
// Text that is not well-formed UTF-8 is read as files are with errors="replace": U+FFFD for each
// maximal ill-formed subpart.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/base/result.hpp"

namespace sluice {

struct EncodeOptions {
  bool add_special_tokens = false;  ///< BOS and the like, where the tokenizer's files say so
  bool literal = false;             ///< special tokens in the text are plain text
};

struct DecodeOptions {
  bool skip_special_tokens = false;
};

/// Ids of the marks round prefix, suffix and middle of a fill-in-the-middle document.
struct FimTokens {
  std::int32_t begin;
  std::int32_t hole;
  std::int32_t end;
};

struct TokenizerParts;

/// Immutable; any number of threads may use one.
class Tokenizer {
 public:
  static constexpr std::string_view kBytes = "bytes";

  /// `path`: a tokenizer.json, a folder that has one, or "bytes". A tokenizer_config.json beside
  /// it is read too.
  static Result<Tokenizer> load(const std::string& path);
  /// From the files' texts; an empty `config` stands for no tokenizer_config.json. `where` names
  /// the tokenizer.json in errors.
  static Result<Tokenizer> parse(std::string json, std::string config, const std::string& where);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Fails on a text of a gibibyte and more, and where a pattern of the tokenizer.json backtracks
  /// without end.
  Result<std::vector<std::int32_t>> encode(std::string_view text, EncodeOptions options = {}) const;
  /// Always well-formed. Ids that no token has add nothing.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids,
                                   DecodeOptions options = {}) const;

  /// One more than the largest id: what a model's vocab_size has to hold.
  [[nodiscard]] std::int64_t vocab_size() const;
  [[nodiscard]] std::optional<std::int32_t> bos_id() const;
  [[nodiscard]] std::optional<std::int32_t> eos_id() const;
  [[nodiscard]] std::optional<FimTokens> fim_tokens() const;
  /// What add_special_tokens puts before a text: how a document begins.
  [[nodiscard]] std::span<const std::int32_t> prefix_ids() const;
  [[nodiscard]] bool is_special(std::int32_t id) const;
  /// The token as the vocabulary spells it (byte-level tokens in byte letters).
  [[nodiscard]] std::optional<std::string> token_text(std::int32_t id) const;
  [[nodiscard]] std::optional<std::int32_t> token_id(std::string_view text) const;

  /// Of everything that decides ids and texts.
  [[nodiscard]] std::uint64_t digest() const;
  /// The files that make this tokenizer, as a checkpoint carries them: name and text, byte by byte
  /// as read. "bytes" has them too.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> files() const;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::unique_ptr<TokenizerParts> parts);

  std::unique_ptr<TokenizerParts> parts_;
};

/// Ids in, text out as early as it is certain; joined, it is decode() of all ids.
///
/// A character goes out with its last byte, U+FFFD as soon as nothing can complete a character.
/// Runs of SentencePiece byte tokens go out when they end, since a bad byte spoils a whole run.
/// Skipped special tokens add nothing, not even a boundary. The tokenizer must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options = {});
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();

  /// Ids before the first push(), whose text is not wanted: a prompt.
  void prime(std::span<const std::int32_t> prompt);
  /// The text that `id` releases.
  std::string push(std::int32_t id);
  /// The text still held back.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice

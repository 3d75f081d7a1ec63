// The stages in order: added tokens, normalizer, pre-tokenizer, BPE; and back.
#include "runtime/tokenizer/tokenizer.hpp"

#include <array>
#include <filesystem>

#include "kernels/base/digest.hpp"
#include "runtime/store/file.hpp"
#include "runtime/tokenizer/tokenizer_parts.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTextBytesMax = std::size_t{1} << 30;
constexpr std::uint64_t kFileBytesMax = std::uint64_t{512} << 20;

/// Lends a scratch to one call, so that caches stay warm and threads do not wait for each other.
class BorrowedScratch {
 public:
  explicit BorrowedScratch(TokenizerParts& parts) : parts_(parts) {
    const std::lock_guard lock(parts_.mutex);
    if (!parts_.idle.empty()) {
      scratch_ = std::move(parts_.idle.back());
      parts_.idle.pop_back();
    }
  }
  ~BorrowedScratch() {
    const std::lock_guard lock(parts_.mutex);
    parts_.idle.push_back(std::move(scratch_));
  }
  BorrowedScratch(const BorrowedScratch&) = delete;
  BorrowedScratch& operator=(const BorrowedScratch&) = delete;

  EncodeScratch& operator*() {
    if (!scratch_) scratch_ = std::make_unique<EncodeScratch>();
    return *scratch_;
  }

 private:
  TokenizerParts& parts_;
  std::unique_ptr<EncodeScratch> scratch_;
};

/// Text without added tokens, normalised.
Status encode_plain(const TokenizerParts& parts, std::string_view text, bool at_start,
                    EncodeScratch& scratch, std::vector<TokenId>& ids) {
  SLUICE_TRY(parts.pre_tokenizer.run(text, at_start, scratch.regex, scratch.pieces));
  const bool byte_letters = parts.pre_tokenizer.byte_letters();
  for (const auto range : scratch.pieces.ranges) {
    parts.model.encode(scratch.pieces.piece(range), byte_letters, scratch.bpe, ids);
  }
  return {};
}

/// Text without added tokens but those that are looked for after normalisation.
Status encode_between(const TokenizerParts& parts, std::string_view text, bool at_start,
                      bool literal, EncodeScratch& scratch, std::vector<TokenId>& ids) {
  std::string normalized;
  if (!parts.normalizer.empty()) {
    SLUICE_ASSIGN(normalized, parts.normalizer.run(std::string(text), scratch.regex));
    text = normalized;
  }
  scratch.inner_parts.clear();
  SLUICE_TRY(parts.added.split(text, true, literal, scratch.regex, scratch.inner_parts));
  for (const auto& part : scratch.inner_parts) {
    if (part.id) {
      ids.push_back(*part.id);
    } else {
      SLUICE_TRY(encode_plain(parts, text.substr(part.begin, part.end - part.begin),
                              at_start && part.begin == 0, scratch, ids));
    }
  }
  return {};
}

std::optional<std::string_view> text_of(const TokenizerParts& parts, TokenId id) {
  if (const AddedToken* token = parts.added.find(id)) return token->content;
  return parts.model.text_of(id);
}

bool skipped(const TokenizerParts& parts, std::string_view text, DecodeOptions options) {
  return options.skip_special_tokens && parts.added.is_special(text);
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<TokenizerParts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::load(const std::string& path) {
  if (path == kBytes) return parse(bytes_tokenizer_json(), bytes_tokenizer_config(), path);
  std::error_code ignored;
  fs::path file = path;
  if (fs::is_directory(file, ignored)) file /= "tokenizer.json";
  if (!fs::exists(file, ignored)) {
    return invalid_input(
        "no tokenizer at {}: give a tokenizer.json, a folder that has one, or the "
        "word bytes",
        file.string());
  }
  SLUICE_ASSIGN(auto json, store::read_text(file, kFileBytesMax));
  const fs::path config_file = file.parent_path() / "tokenizer_config.json";
  std::string config;
  if (fs::exists(config_file, ignored)) {
    SLUICE_ASSIGN(config, store::read_text(config_file, kFileBytesMax));
  }
  return parse(std::move(json), std::move(config), file.string());
}

Result<Tokenizer> Tokenizer::parse(std::string json, std::string config, const std::string& where) {
  SLUICE_ASSIGN(auto parts, parse_tokenizer(std::move(json), std::move(config), where));
  return Tokenizer(std::move(parts));
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text,
                                                    EncodeOptions options) const {
  if (text.size() > kTextBytesMax) {
    return invalid_input("a text of {} bytes; at most {} are tokenized at once", text.size(),
                         kTextBytesMax);
  }
  std::string valid;
  if (utf8_valid_prefix(text) != text.size()) {
    valid = to_valid_utf8(text);
    text = valid;
  }
  BorrowedScratch borrowed(*parts_);
  EncodeScratch& scratch = *borrowed;
  std::vector<TokenId> ids;
  if (options.add_special_tokens) ids = parts_->prefix;
  scratch.parts.clear();
  SLUICE_TRY(parts_->added.split(text, false, options.literal, scratch.regex, scratch.parts));
  for (const auto& part : scratch.parts) {
    if (part.id) {
      ids.push_back(*part.id);
    } else {
      SLUICE_TRY(encode_between(*parts_, text.substr(part.begin, part.end - part.begin),
                                part.begin == 0, options.literal, scratch, ids));
    }
  }
  if (options.add_special_tokens) {
    ids.insert(ids.end(), parts_->suffix.begin(), parts_->suffix.end());
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, DecodeOptions options) const {
  StreamDecoder stream(*this, options);
  std::string text;
  for (const auto id : ids) text += stream.push(id);
  text += stream.finish();
  return text;
}

std::int64_t Tokenizer::vocab_size() const {
  return std::max(parts_->model.id_end(), parts_->added.id_end());
}

std::optional<std::int32_t> Tokenizer::bos_id() const { return parts_->bos; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return parts_->eos; }

std::optional<FimTokens> Tokenizer::fim_tokens() const {
  // DeepSeek, Qwen, StarCoder, Code Llama; each names prefix, suffix, middle.
  constexpr std::array<std::array<std::string_view, 3>, 4> kNames = {{
      {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},
      {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
      {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
      {"▁<PRE>", "▁<SUF>", "▁<MID>"},
  }};
  for (const auto& names : kNames) {
    const auto begin = token_id(names[0]), hole = token_id(names[1]), end = token_id(names[2]);
    if (begin && hole && end) return FimTokens{*begin, *hole, *end};
  }
  return std::nullopt;
}

std::span<const std::int32_t> Tokenizer::prefix_ids() const { return parts_->prefix; }

bool Tokenizer::is_special(std::int32_t id) const {
  const auto text = text_of(*parts_, id);
  return text && parts_->added.is_special(*text);
}

std::optional<std::string> Tokenizer::token_text(std::int32_t id) const {
  const auto text = text_of(*parts_, id);
  return text ? std::optional<std::string>(*text) : std::nullopt;
}

std::optional<std::int32_t> Tokenizer::token_id(std::string_view text) const {
  if (const auto id = parts_->added.id_of(std::string(text))) return id;
  return parts_->model.id_of(text);
}

std::uint64_t Tokenizer::digest() const {
  return sluice::digest(parts_->config, sluice::digest(parts_->json));
}

std::vector<std::pair<std::string, std::string>> Tokenizer::files() const {
  std::vector<std::pair<std::string, std::string>> out{{"tokenizer.json", parts_->json}};
  if (!parts_->config.empty()) out.emplace_back("tokenizer_config.json", parts_->config);
  return out;
}

struct StreamDecoder::State {
  State(const TokenizerParts& parts_, DecodeOptions options_)
      : parts(parts_), options(options_), stream(parts_.decoder) {}

  const TokenizerParts& parts;
  DecodeOptions options;
  Decoder::Stream stream;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options)
    : state_(std::make_unique<State>(*tokenizer.parts_, options)) {}
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

void StreamDecoder::prime(std::span<const std::int32_t> prompt) {
  for (const auto id : prompt) push(id);
  state_->stream.drop_complete();
}

std::string StreamDecoder::push(std::int32_t id) {
  const auto text = text_of(state_->parts, id);
  if (!text || skipped(state_->parts, *text, state_->options)) return {};
  return state_->stream.push(*text);
}

std::string StreamDecoder::finish() { return state_->stream.finish(); }

}  // namespace sluice

// One pass over the documents.
#include "runtime/data/corpus.hpp"

#include <bit>

#include "kernels/base/digest.hpp"
#include "runtime/data/documents.hpp"
#include "runtime/data/fim.hpp"

namespace sluice {
namespace {

/// Changes when the same files would give other tokens.
constexpr std::uint64_t kCacheVersion = 2;

std::uint64_t mix(std::uint64_t key, std::uint64_t value) {
  return digest(std::as_bytes(std::span(&value, 1)), key);
}

/// Which documents validation gets: as soon as the share allows one, so that they come from all
/// over the corpus and their total stays within half a document of the share.
class PartPicker {
 public:
  explicit PartPicker(double share) : share_(share) {}

  DataPart pick(std::uint64_t bytes) {
    const auto size = static_cast<double>(bytes);
    all_ += size;
    if (validation_ + size / 2 > share_ * all_) return DataPart::kTrain;
    validation_ += size;
    return share_ > 0 ? DataPart::kValidation : DataPart::kTrain;
  }

 private:
  double share_;
  double all_ = 0;
  double validation_ = 0;
};

class CorpusTokenizer {
 public:
  CorpusTokenizer(const DataConfig& config, const Tokenizer& tokenizer, TokenCacheWriter& writer,
                  std::int32_t eos, std::optional<FimTokens> fim)
      : config_(config),
        tokenizer_(tokenizer),
        writer_(writer),
        eos_(eos),
        fim_(fim),
        picker_(config.validation_share) {}

  Status add(const DocumentSlice& slice) {
    if (slice.first) {
      part_ = picker_.pick(slice.document_bytes);
      SLUICE_TRY(writer_.append(part_, tokenizer_.prefix_ids()));
    }
    const bool whole = slice.first && slice.last;
    if (fim_ && whole && fim_chosen(config_.seed, documents_, config_.fim_rate)) {
      SLUICE_TRY(add_fim(fim_cut(slice.text, config_.seed, documents_)));
    } else {
      SLUICE_TRY(add_text(slice.text));
    }
    if (!slice.last) return {};
    ++documents_;
    writer_.count_document(part_);
    return add_token(eos_);
  }

 private:
  /// Special tokens in a corpus are text: else a document could end another.
  Status add_text(std::string_view text) {
    SLUICE_ASSIGN(const auto ids, tokenizer_.encode(text, {.literal = true}));
    return writer_.append(part_, ids);
  }
  Status add_token(std::int32_t id) { return writer_.append(part_, std::span(&id, 1)); }

  Status add_fim(const FimCut& cut) {
    SLUICE_TRY(add_token(fim_->begin));
    SLUICE_TRY(add_text(cut.prefix));
    SLUICE_TRY(add_token(fim_->hole));
    SLUICE_TRY(add_text(cut.suffix));
    SLUICE_TRY(add_token(fim_->end));
    return add_text(cut.middle);
  }

  const DataConfig& config_;
  const Tokenizer& tokenizer_;
  TokenCacheWriter& writer_;
  std::int32_t eos_;
  std::optional<FimTokens> fim_;
  PartPicker picker_;
  DataPart part_ = DataPart::kTrain;
  std::uint64_t documents_ = 0;
};

}  // namespace

std::uint64_t corpus_key(const DataConfig& config, const CorpusFiles& corpus,
                         const Tokenizer& tokenizer) {
  std::uint64_t key = mix(tokenizer.digest(), kCacheVersion);
  key = mix(key, std::bit_cast<std::uint64_t>(config.validation_share));
  key = mix(key, std::bit_cast<std::uint64_t>(config.fim_rate));
  if (config.fim_rate > 0) key = mix(key, config.seed);
  for (const CorpusFile& file : corpus.files) {
    key = digest(std::filesystem::absolute(file.path).lexically_normal().string(), key);
    key = mix(key, file.size_bytes);
    key = mix(key, static_cast<std::uint64_t>(file.modified_ns));
  }
  return key;
}

Status tokenize_corpus(const DataConfig& config, const CorpusFiles& corpus,
                       const Tokenizer& tokenizer, const std::filesystem::path& cache_path,
                       const Dataset::Progress& progress) {
  const auto eos = tokenizer.eos_id();
  if (!eos) {
    return invalid_input(
        "the tokenizer names no end-of-text token, which goes between documents; set eos_token in "
        "its tokenizer_config.json");
  }
  const auto fim = config.fim_rate > 0 ? tokenizer.fim_tokens() : std::nullopt;
  if (config.fim_rate > 0 && !fim) {
    return invalid_input(
        "data.fim_rate is {}, but the tokenizer has no FIM tokens (such as "
        "<｜fim▁begin｜>, <｜fim▁hole｜>, <｜fim▁end｜>); set it to 0",
        config.fim_rate);
  }
  std::uint64_t done = 0, all = 0;
  for (const CorpusFile& file : corpus.files) all += file.size_bytes;
  SLUICE_ASSIGN(auto writer,
                TokenCacheWriter::create(cache_path, corpus_key(config, corpus, tokenizer),
                                         static_cast<std::uint64_t>(tokenizer.vocab_size())));
  CorpusTokenizer documents(config, tokenizer, writer, *eos, fim);
  for (const CorpusFile& file : corpus.files) {
    std::uint64_t within = 0;
    SLUICE_TRY(for_each_document(file, [&](const DocumentSlice& slice) {
      within += slice.text.size();
      if (progress) progress(done + std::min(within, file.size_bytes), all);
      return documents.add(slice);
    }));
    done += file.size_bytes;
  }
  return writer.finish();
}

}  // namespace sluice

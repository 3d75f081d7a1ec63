// A corpus's text into a token cache: documents, their part, FIM, ends.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/base/result.hpp"
#include "runtime/data/dataset.hpp"
#include "runtime/data/file_list.hpp"

namespace sluice {

/// Of everything that decides the tokens: files (path, size, time), tokenizer, shares.
[[nodiscard]] std::uint64_t corpus_key(const DataConfig& config, const CorpusFiles& corpus,
                                       const Tokenizer& tokenizer);

/// Tokenizes all documents in order. The tokenizer has an end-of-text token and, where fim_rate is
/// not 0, FIM tokens; else it is an Error.
Status tokenize_corpus(const DataConfig& config, const CorpusFiles& corpus,
                       const Tokenizer& tokenizer, const std::filesystem::path& cache_path,
                       const Dataset::Progress& progress);

}  // namespace sluice

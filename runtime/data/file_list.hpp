// The files of a corpus: plain paths, folders and globs to a list in a fixed order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/result.hpp"

namespace sluice {

struct CorpusFile {
  std::filesystem::path path;
  std::uint64_t size_bytes = 0;
  std::int64_t modified_ns = 0;  ///< file clock

  /// One JSON object a line, its text under "text"; any other file is one text.
  [[nodiscard]] bool is_jsonl() const;
};

struct CorpusFiles {
  std::vector<CorpusFile> files;
  std::uint64_t skipped_binary = 0;  ///< found in folders or by globs, with a zero byte in front
};

/// Each path is a file, a folder (all files in it and below) or a glob (* ? [] within a name, **
/// for any folders). What a path stands for is sorted; a file that comes twice counts once. Names
/// that start with a dot are left out unless spelled. A path that gives no file is an Error.
Result<CorpusFiles> list_corpus_files(const std::vector<std::string>& paths);

/// True if the path, cut at its slashes, matches the glob, cut at its slashes.
[[nodiscard]] bool glob_matches(std::string_view glob, std::string_view path);

}  // namespace sluice

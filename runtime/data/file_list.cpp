// Walks folders; no glob(3), which knows no **.
#include "runtime/data/file_list.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <set>

#include "runtime/store/file.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSniffBytes = 4096;

std::vector<std::string> components(std::string_view path) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    if (end > at && path.substr(at, end - at) != ".") out.emplace_back(path.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

bool is_glob(std::string_view text) { return text.find_first_of("*?[") != std::string_view::npos; }

using Names = std::vector<std::string>;

/// Whether glob[i...] matches names[j...]; each pair is looked at once, so ** cannot explode.
bool match_names(const Names& glob, const Names& names) {
  std::vector<char> reachable(names.size() + 1, 0);
  reachable[0] = 1;
  for (const std::string& part : glob) {
    std::vector<char> next(names.size() + 1, 0);
    for (std::size_t j = 0; j <= names.size(); ++j) {
      if (part == "**") {
        const bool passes = j > 0 && next[j - 1] != 0 && names[j - 1][0] != '.';
        next[j] = static_cast<char>(reachable[j] != 0 || passes);
      } else if (j > 0 && reachable[j - 1] != 0) {
        next[j] = static_cast<char>(fnmatch(part.c_str(), names[j - 1].c_str(), FNM_PERIOD) == 0);
      }
    }
    reachable = std::move(next);
  }
  return reachable[names.size()] != 0;
}

Result<bool> is_binary(const fs::path& path) {
  SLUICE_ASSIGN(const auto file, store::File::open_read(path));
  std::array<std::byte, kSniffBytes> head;
  const auto size = std::min<std::uint64_t>(file.size(), head.size());
  SLUICE_TRY(file.read_at(0, std::span(head).first(size)));
  return std::find(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(size), std::byte{0}) !=
         head.begin() + static_cast<std::ptrdiff_t>(size);
}

/// Files below `folder` that `wanted` accepts, sorted.
template <class Wanted>
Result<std::vector<fs::path>> walk(const fs::path& folder, bool hidden, Wanted&& wanted) {
  std::vector<fs::path> found;
  std::error_code error;
  auto entry = fs::recursive_directory_iterator(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    std::error_code ignored;
    if (!hidden && path.filename().string().starts_with('.')) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file(ignored) && wanted(path)) {
      found.push_back(path);
    }
  }
  if (error) {
    return invalid_input("data.paths: cannot list {}: {}", folder.string(), error.message());
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<std::vector<fs::path>> expand_glob(const std::string& glob) {
  const Names parts = components(glob);
  fs::path base = glob.starts_with('/') ? "/" : "";
  std::size_t fixed = 0;
  while (!is_glob(parts[fixed])) base /= parts[fixed++];
  if (base.empty()) base = ".";
  const bool hidden = glob.find("/.") != std::string::npos || glob.starts_with('.');
  if (!fs::is_directory(base)) {
    return invalid_input("data.paths: '{}': there is no folder {}", glob, base.string());
  }
  return walk(base, hidden,
              [&](const fs::path& path) { return glob_matches(glob, path.string()); });
}

struct Expanded {
  std::vector<fs::path> files;
  bool spelled = false;  ///< the path itself is the file
};

Result<Expanded> expand(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (fs::is_directory(status)) {
    SLUICE_ASSIGN(auto files, walk(path, false, [](const fs::path&) { return true; }));
    return Expanded{std::move(files), false};
  }
  if (fs::exists(status)) return Expanded{{path}, true};
  if (is_glob(path)) {
    SLUICE_ASSIGN(auto files, expand_glob(path));
    return Expanded{std::move(files), false};
  }
  return invalid_input(
      "data.paths: there is no {}; give a text file, a .jsonl file, a folder or a "
      "glob",
      path);
}

Result<CorpusFile> describe(const fs::path& path) {
  SLUICE_ASSIGN(const auto file, store::File::open_read(path));
  std::error_code error;
  const auto time = fs::last_write_time(path, error);
  if (error) return invalid_input("cannot examine {}: {}", path.string(), error.message());
  const auto modified =
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch());
  return CorpusFile{path, file.size(), modified.count()};
}

}  // namespace

bool CorpusFile::is_jsonl() const {
  return path.extension() == ".jsonl" || path.extension() == ".ndjson";
}

bool glob_matches(std::string_view glob, std::string_view path) {
  return match_names(components(glob), components(path));
}

Result<CorpusFiles> list_corpus_files(const std::vector<std::string>& paths) {
  CorpusFiles corpus;
  std::set<fs::path> seen;
  for (const std::string& path : paths) {
    SLUICE_ASSIGN(const auto expanded, expand(path));
    for (const fs::path& file : expanded.files) {
      if (!seen.insert(file.lexically_normal()).second) continue;
      if (!expanded.spelled) {
        SLUICE_ASSIGN(const bool binary, is_binary(file));
        corpus.skipped_binary += binary ? 1 : 0;
        if (binary) continue;
      }
      SLUICE_ASSIGN(auto described, describe(file));
      corpus.files.push_back(std::move(described));
    }
    if (expanded.files.empty()) {
      return invalid_input("data.paths: '{}' gives no file; check the path", path);
    }
  }
  if (corpus.files.empty()) {
    return invalid_input(
        "data.paths names no text; give text files, .jsonl files, folders or globs");
  }
  return corpus;
}

}  // namespace sluice

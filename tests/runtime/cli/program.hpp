// The program sluice as a child, and small runs of it: a tiny model on a little text, in a folder
// of their own.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::test {

/// `sluice ARGUMENTS...`
[[nodiscard]] std::vector<std::string> program(const std::vector<std::string>& arguments);
[[nodiscard]] ChildResult run_program(const std::vector<std::string>& arguments,
                                      const ChildOptions& options = {});
/// What `sluice COMMAND ARGUMENTS...` prints; it must succeed.
[[nodiscard]] std::string output_of(const std::string& command, std::vector<std::string> arguments);
/// What it says to input that it must refuse: "sluice: error: ...".
[[nodiscard]] std::string refusal_of(const std::string& command,
                                     std::vector<std::string> arguments);
/// For test messages: how it ended and what it said.
[[nodiscard]] std::string describe(const ChildResult& result);

/// A folder with a model's config.json, a text and run.toml: steps of milliseconds.
class SmallRun {
 public:
  SmallRun();
  [[nodiscard]] const TemporaryFolder& folder() const { return folder_; }
  [[nodiscard]] std::filesystem::path config() const { return folder_ / "run.toml"; }
  [[nodiscard]] std::filesystem::path model() const { return folder_ / "config.json"; }
  [[nodiscard]] std::filesystem::path directory(const std::string& name) const {
    return folder_ / name;
  }
  /// `sluice train run.toml --set run.directory=NAME --set SETS... [--resume]`, as arguments.
  [[nodiscard]] std::vector<std::string> train_arguments(const std::string& name,
                                                         const std::vector<std::string>& sets = {},
                                                         bool resume = false) const;
  [[nodiscard]] ChildResult train(const std::string& name,
                                  const std::vector<std::string>& sets = {}, bool resume = false,
                                  const ChildOptions& options = {}) const;

 private:
  TemporaryFolder folder_;
};

/// Content of every file of a folder, by name.
[[nodiscard]] std::map<std::string, std::string> files_of(const std::filesystem::path& folder);
/// Lines of metrics.jsonl without what is measured (times, memory).
[[nodiscard]] std::vector<std::string> metrics_of(const std::filesystem::path& run_directory);

}  // namespace sluice::test

// Every file of configs/ is what `sluice config dump` prints of it, and describes a run that could
// start.
#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/config/config.hpp"
#include "runtime/store/hf_config.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::config {
namespace {

std::vector<std::filesystem::path> files_of(const std::filesystem::path& folder,
                                            std::string_view extension) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == extension) files.push_back(entry.path());
  }
  return files;
}

// A file may say where its values are from, in lines of their own that a dump does not have.
std::string without_sources(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    const std::string line = text.substr(at, end - at);
    if (!line.starts_with("# source: ")) out += line;
    at = end;
  }
  return out;
}

TEST(ConfigsFolder, EveryFileIsItsOwnDump) {
  const auto files = files_of(SLUICE_CONFIGS, ".toml");
  EXPECT_FALSE(files.empty());
  for (const auto& file : files) {
    const auto config = load_config(file, {});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(dump_toml(*config), without_sources(test::read_file(file)))
        << "regenerate it: sluice config dump " << file << " > " << file << ".new";
  }
}

TEST(ConfigsFolder, EveryRunFitsItsModel) {
  for (const auto& file : files_of(SLUICE_CONFIGS, ".toml")) {
    const auto config = load_config(file, {});
    ASSERT_TRUE(config) << config.error().message;
    const auto model = load_model(*config);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_TRUE(check_model(*config, *model));
  }
}

TEST(ConfigsFolder, EveryModelIsSound) {
  const auto files = files_of(std::filesystem::path(SLUICE_CONFIGS) / "models", ".json");
  EXPECT_FALSE(files.empty());
  for (const auto& file : files) {
    const auto model = store::read_hf_config(file);
    EXPECT_TRUE(model) << model.error().message;
  }
}

}  // namespace
}  // namespace sluice::config

#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "layers/base/bytes.h"
#include "layers/base/temp_dir.h"
#include "layers/tar.h"

namespace surcoat::registry {

/// Where the files of a saved image go. Files are given in byte order of their names; folders are made as
/// they are needed. From one thread at a time.
class LayoutWriter {
  public:
    virtual ~LayoutWriter() = default;
    /// `write` gives exactly `size` bytes, or this throws Errc::corrupt.
    virtual void file(const std::string& name, std::uint64_t size,
                      const std::function<void(ByteSink&)>& write) = 0;
    /// Nothing of it is to be relied upon before.
    virtual void finish() = 0;
};

/// A tar archive: owners 0, times 0, modes 0644 and 0755, so that the same files give the same bytes.
class ArchiveLayoutWriter final : public LayoutWriter {
  public:
    explicit ArchiveLayoutWriter(ByteSink& sink) : tar_(sink) {}
    void file(const std::string& name, std::uint64_t size,
              const std::function<void(ByteSink&)>& write) override;
    void finish() override { tar_.finish(); }

  private:
    void directories_of(const std::string& name);
    TarWriter tar_;
    std::string last_directory_;
};

/// A directory, made beside its final place and moved there by finish().
class DirectoryLayoutWriter final : public LayoutWriter {
  public:
    /// Throws Errc::conflict if `directory` exists and is not an empty directory.
    explicit DirectoryLayoutWriter(std::filesystem::path directory);
    void file(const std::string& name, std::uint64_t size,
              const std::function<void(ByteSink&)>& write) override;
    void finish() override;

  private:
    std::filesystem::path directory_;
    std::optional<TempDir> building_;
};

}  // namespace surcoat::registry

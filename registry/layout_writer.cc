#include "registry/layout_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/root_dir.h"

namespace surcoat::registry {
namespace {

constexpr std::size_t kBuffer = std::size_t{1} << 18;

/// Counts, and refuses more than was announced: in a tar it would run into the next member.
class Exactly final : public ByteSink {
  public:
    Exactly(ByteSink& sink, const std::string& name, std::uint64_t size)
        : sink_(sink), name_(name), size_(size) {}
    void write(ByteSpan bytes) override {
        written_ += bytes.size();
        if (written_ > size_) fail("more than");
        sink_.write(bytes);
    }
    void finish() const {
        if (written_ != size_) fail("fewer than");
    }

  private:
    [[noreturn]] void fail(const char* how) const {
        throw Error(Errc::corrupt, fmt::format("'{}' turned out to have {} the {} bytes that the store says",
                                               name_, how, size_))
            .hint("run `surcoat fsck`");
    }
    ByteSink& sink_;
    const std::string& name_;
    std::uint64_t size_;
    std::uint64_t written_ = 0;
};

/// Layers arrive in pieces as small as a tar header.
class Buffered final : public ByteSink {
  public:
    explicit Buffered(ByteSink& sink) : sink_(sink) { buffer_.reserve(kBuffer); }
    void write(ByteSpan bytes) override {
        if (buffer_.size() + bytes.size() > kBuffer) flush();
        if (bytes.size() >= kBuffer) {
            sink_.write(bytes);
        } else {
            buffer_.append(as_text(bytes));
        }
    }
    void flush() {
        sink_.write(as_bytes(buffer_));
        buffer_.clear();
    }

  private:
    ByteSink& sink_;
    std::string buffer_;
};

}  // namespace

void ArchiveLayoutWriter::directories_of(const std::string& name) {
    for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
        const std::string directory = name.substr(0, slash);
        // Names come in order, so a folder that the last one was in is written already.
        if (last_directory_ == directory || last_directory_.starts_with(directory + "/")) continue;
        Entry entry;
        entry.path = directory;
        entry.inode.type = FileType::directory;
        entry.inode.mode = 0755;
        tar_.entry(entry);
        last_directory_ = directory;
    }
}

void ArchiveLayoutWriter::file(const std::string& name, std::uint64_t size,
                               const std::function<void(ByteSink&)>& write) {
    directories_of(name);
    Entry entry;
    entry.path = name;
    entry.inode.size = size;
    tar_.entry(entry);
    FunctionSink content([&](ByteSpan bytes) { tar_.content(bytes); });
    Buffered buffered(content);
    Exactly exactly(buffered, name, size);
    write(exactly);
    exactly.finish();
    buffered.flush();
}

DirectoryLayoutWriter::DirectoryLayoutWriter(std::filesystem::path directory)
    : directory_(std::move(directory)) {
    directory_ = std::filesystem::absolute(directory_).lexically_normal();
    if (!directory_.has_filename()) directory_ = directory_.parent_path();  // "out/"
    if (const auto there = lstat_path(directory_)) {
        if (!S_ISDIR(there->st_mode) ||
            !list_directory(open_file(directory_, O_RDONLY | O_DIRECTORY).get()).empty()) {
            throw Error(Errc::conflict, fmt::format("'{}' exists already{}", directory_.string(),
                                                    S_ISDIR(there->st_mode) ? " and is not empty" : ""))
                .hint("give the name of a new directory");
        }
    }
    make_directories(directory_.parent_path());
    building_.emplace(directory_.parent_path(), ".surcoat-save.");
}

void DirectoryLayoutWriter::file(const std::string& name, std::uint64_t size,
                                 const std::function<void(ByteSink&)>& write) {
    const std::filesystem::path path = building_->path() / name;
    make_directories(path.parent_path());
    UniqueFd fd = open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    FdSink content(fd.get());
    Buffered buffered(content);
    Exactly exactly(buffered, name, size);
    write(exactly);
    exactly.finish();
    buffered.flush();
    fd.close();
}

void DirectoryLayoutWriter::finish() {
    // mkdtemp made it private; a layout is to be read by others.
    if (::chmod(building_->path().c_str(), 0755) != 0)
        throw_errno(fmt::format("make '{}' readable", building_->path().string()));
    rename_file(building_->path(), directory_);
    building_->release();
}

}  // namespace surcoat::registry

#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "layers/base/bytes.h"
#include "layers/base/root_dir.h"
#include "registry/spool.h"

namespace surcoat::registry {

/// Named files to read documents and blobs from, in any order: an unpacked layout or the members of a tar
/// archive, which is never unpacked. Names are relative ("blobs/sha256/…"). From one thread at a time.
class Members {
  public:
    virtual ~Members() = default;
    /// Bytes of a regular file; nothing if there is none of that name. Throws Errc::invalid for a symlink
    /// unless links are followed here (see ArchiveMembers), and for what is no regular file.
    virtual std::optional<std::uint64_t> size(const std::string& name) const = 0;
    /// Throws Errc::corrupt if there is none. The source must not outlive this object.
    virtual std::unique_ptr<ByteSource> open(const std::string& name) const = 0;

    /// The whole of a document. Throws Errc::invalid over `limit` bytes, before reading it.
    std::string read(const std::string& name, std::uint64_t limit) const;
    bool has(const std::string& name) const { return size(name).has_value(); }
};

/// A directory. No component of a name may be a symlink: a layout has none, and one that leads out of it
/// would make us read files that are not part of it.
class DirectoryMembers final : public Members {
  public:
    explicit DirectoryMembers(const std::string& path) : root_(path) {}
    std::optional<std::uint64_t> size(const std::string& name) const override;
    std::unique_ptr<ByteSource> open(const std::string& name) const override;

  private:
    RootDir root_;
};

/// The members of a tar archive, plain or compressed. A plain archive in a file is read where it lies; one
/// that is compressed or comes through a pipe is first spooled, uncompressed, into an unnamed file.
class ArchiveMembers final : public Members {
  public:
    /// Reads the whole archive once. `fd` must stay open as long as this lives. Throws Errc::corrupt for what
    /// is no (whole) archive, Errc::invalid for names that lead out of it and for two members of one name.
    ArchiveMembers(int fd, const std::filesystem::path& spool_directory);

    /// Docker's archives before version 25 say "the same layer" by a symlink to another member; those of OCI
    /// layouts have no links. Off at first.
    void follow_links(bool follow) { follow_links_ = follow; }

    std::optional<std::uint64_t> size(const std::string& name) const override;
    std::unique_ptr<ByteSource> open(const std::string& name) const override;

  private:
    struct Member {
        enum class Kind { file, link, other } kind = Kind::other;
        std::uint64_t offset = 0;
        std::uint64_t size = 0;
        std::string target;  ///< of a link: a member's name; "" if it leads out of the archive
    };
    void read_index(ByteSource& archive);
    const Member* find(const std::string& name) const;

    int fd_;  ///< the plain archive
    std::optional<SpoolFile> spool_;
    std::map<std::string, Member> members_;
    bool follow_links_ = false;
};

}  // namespace surcoat::registry

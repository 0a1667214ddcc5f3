#include "layers/store/transaction.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "layers/base/error.h"
#include "layers/base/fault.h"
#include "layers/base/file.h"
#include "layers/store/database.h"
#include "layers/store/store_state.h"
#include "layers/store/transaction_state.h"

namespace surcoat {
namespace {

constexpr std::uint64_t kHoleBlock = 16 << 10;  // smaller holes save little and cost extents
constexpr std::uint64_t kFlushEarly = 1 << 20;  // from this size on, the disk may begin before commit()
constexpr std::size_t kCopyBuffer = 1 << 20;

bool all_zero(ByteSpan bytes) {
    return bytes.empty() ||
           (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

void hash_zeros(Hasher& hasher, std::uint64_t count) {
    static const std::vector<std::byte> zeros(1 << 16);
    while (count > 0) {
        const std::size_t n = std::min<std::uint64_t>(count, zeros.size());
        hasher.update(ByteSpan(zeros).first(n));
        count -= n;
    }
}

void set_size(int fd, std::uint64_t size) {
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0) throw_errno("set a file's size");
}

/// Starts writing back; commit() waits for it. Only a hint to the kernel.
void flush_early(int fd, std::uint64_t size) {
    if (size >= kFlushEarly) ::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

}  // namespace

void write_sparse(int fd, ByteSpan bytes, std::uint64_t offset) {
    std::size_t begin = 0;  // what is to be written and is not yet
    std::size_t at = 0;
    const auto flush = [&](std::size_t end) {
        if (end > begin) pwrite_full(fd, bytes.subspan(begin, end - begin), offset + begin);
    };
    while (at < bytes.size()) {
        const std::uint64_t into = (offset + at) % kHoleBlock;
        const std::size_t n = std::min<std::uint64_t>(bytes.size() - at, kHoleBlock - into);
        if (n == kHoleBlock && all_zero(bytes.subspan(at, n))) {
            flush(at);
            begin = at + n;
        }
        at += n;
    }
    flush(bytes.size());
}

// ---- State

Transaction::State::State(Store& given_store, std::string given_purpose)
    : store(given_store),
      purpose(std::move(given_purpose)),
      objects_directory(open_file(store.objects_directory(), O_RDONLY | O_DIRECTORY)) {
    const ProcessIdentity self = ProcessIdentity::self();
    store.catalogue().write([&](Catalogue::Write& write) {
        write.database().run(
            "INSERT INTO transactions(purpose, pid, start_ticks, boot_id, generation, started_at) "
            "SELECT ?, ?, ?, ?, value, ? FROM meta WHERE key = 'generation'",
            purpose, self.pid, self.start_ticks, self.boot_id, std::int64_t{std::time(nullptr)});
        number = write.database().last_id();
    });
}

Transaction::State::~State() {
    abandon();
}

bool Transaction::State::known(const ObjectId& id) {
    if (objects.contains(id)) return true;
    // Each look is a read of its own: a snapshot held open would not see that gc has condemned the row since.
    const auto size = store.catalogue().object_size(id);
    if (!size) return false;
    objects.emplace(id, Object{.size = *size});
    return true;
}

std::string Transaction::State::staged_name(const ObjectId& id) const {
    return fmt::format("{}.{}", object_name(id), number);
}

ObjectId Transaction::State::add(ByteSpan content) {
    const ObjectId id{sha256(content)};
    if (!known(id)) create_staged(id, content);
    return id;
}

void Transaction::State::create_staged(const ObjectId& id, ByteSpan content) {
    const std::string name = staged_name(id);
    constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int raw = ::openat(objects_directory.get(), name.c_str(), flags, 0444);
    if (raw < 0 && errno == ENOENT) {
        if (::mkdirat(objects_directory.get(), name.substr(0, 2).c_str(), 0755) != 0 && errno != EEXIST)
            throw_errno("create a directory for objects");
        raw = ::openat(objects_directory.get(), name.c_str(), flags, 0444);
    }
    if (raw < 0) throw_errno(fmt::format("create object '{}'", name));
    UniqueFd fd(raw);
    objects.emplace(id, Object{.size = content.size(), .staged = true});
    fault_point("stage.object_created");
    if (content.size() < 4 * kHoleBlock) {
        write_full(fd.get(), content);
    } else {
        write_sparse(fd.get(), content, 0);
        set_size(fd.get(), content.size());
    }
    if (store.options().durability == Durability::full) flush_early(fd.get(), content.size());
    fd.close();
    fault_point("stage.object_written");
}

std::filesystem::path Transaction::State::temporary(const char* kind) {
    const std::filesystem::path directory = store.path("tx") / std::to_string(number);
    if (!has_directory) {
        make_directories(directory, 0700);
        has_directory = true;
    }
    return directory / fmt::format("{}.{}", kind, temporaries++);
}

std::filesystem::path Transaction::make_scratch_directory(const char* kind) {
    std::filesystem::path directory = state_->temporary(kind);
    make_directories(directory, 0700);
    return directory;
}

void Transaction::State::adopt(const std::filesystem::path& file, const ObjectId& id, std::uint64_t size) {
    if (known(id)) {
        remove_file(file);
        return;
    }
    const std::string name = staged_name(id);
    if (::mkdirat(objects_directory.get(), name.substr(0, 2).c_str(), 0755) != 0 && errno != EEXIST)
        throw_errno("create a directory for objects");
    rename_file(file, store.objects_directory() / name);
    objects.emplace(id, Object{.size = size, .staged = true});
}

UniqueFd Transaction::State::open(const ObjectId& id) const {
    const auto found = objects.find(id);
    if (found == objects.end() || !found->second.staged) return store.open_object(id);
    return open_file_at(objects_directory.get(), staged_name(id), O_RDONLY | O_NOFOLLOW);
}

void Transaction::State::abandon() noexcept {
    if (over) return;
    over = true;
    try {
        for (const auto& [id, object] : objects) {
            if (object.staged) ::unlinkat(objects_directory.get(), staged_name(id).c_str(), 0);
        }
        if (has_directory) remove_tree(store.path("tx") / std::to_string(number));
        Database& database = store.catalogue().database();
        if (!database.in_transaction()) database.run("DELETE FROM transactions WHERE number = ?", number);
    } catch (...) {
        // What is left is garbage with a dead owner as soon as this process ends: gc takes it.
    }
}

// ---- writers

namespace {

/// A file of its own beneath tx/, removed unless it was kept.
class TemporaryFile {
  public:
    explicit TemporaryFile(std::filesystem::path path)
        : path_(std::move(path)), fd_(open_file(path_, O_RDWR | O_CREAT | O_EXCL, 0444)) {}
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        if (!kept_) ::unlink(path_.c_str());
    }
    const std::filesystem::path& path() const { return path_; }
    UniqueFd& fd() { return fd_; }
    void keep() { kept_ = true; }

  private:
    std::filesystem::path path_;
    UniqueFd fd_;
    bool kept_ = false;
};

class StagingWriter final : public Transaction::ObjectWriter {
  public:
    explicit StagingWriter(Transaction::State& state) : state_(state) {}

    void write(ByteSpan bytes) override {
        if (!file_ && buffer_.size() + bytes.size() <= kSmallObject) {
            buffer_.append(as_text(bytes));
            return;
        }
        spill();
        hasher_.update(bytes);
        write_sparse(file_->fd().get(), bytes, size_);
        size_ += bytes.size();
    }

    void skip(std::uint64_t zero_bytes) override {
        if (!file_ && buffer_.size() + zero_bytes <= kSmallObject) {
            buffer_.append(zero_bytes, '\0');
            return;
        }
        spill();
        hash_zeros(hasher_, zero_bytes);
        size_ += zero_bytes;
    }

    ObjectId finish() override {
        if (!file_) return state_.add(as_bytes(buffer_));
        set_size(file_->fd().get(), size_);
        if (state_.store.options().durability == Durability::full) flush_early(file_->fd().get(), size_);
        file_->fd().close();
        fault_point("stage.large_object_written");
        const ObjectId id{hasher_.finish()};
        state_.adopt(file_->path(), id, size_);
        file_->keep();
        return id;
    }

  private:
    void spill() {
        if (file_) return;
        file_.emplace(state_.temporary("object"));
        hasher_.update(buffer_);
        write_sparse(file_->fd().get(), as_bytes(buffer_), 0);
        size_ = buffer_.size();
        buffer_ = {};
    }

    Transaction::State& state_;
    std::string buffer_;  // until it is clear that the content is large
    std::optional<TemporaryFile> file_;
    Hasher hasher_;
    std::uint64_t size_ = 0;
};

class StagingBlob final : public Transaction::BlobWriter {
  public:
    StagingBlob(Transaction::State& state) : state_(state), file_(state.temporary("blob")) {}

    void write(ByteSpan bytes) override {
        write_full(file_.fd().get(), bytes);
        size_ += bytes.size();
    }
    void finish(const Digest& digest, const std::string& media_type) override {
        file_.fd().close();
        fault_point("stage.blob_written");
        state_.blobs.push_back({{digest, size_, media_type}, file_.path()});
        file_.keep();
    }

  private:
    Transaction::State& state_;
    TemporaryFile file_;
    std::uint64_t size_ = 0;
};

Error changed_while_read(std::uint64_t expected, std::uint64_t found) {
    return Error(Errc::conflict,
                 fmt::format("a file changed while it was read: it had {} bytes, now {}", expected, found))
        .hint("wait until nobody writes to it, then try again");
}

}  // namespace

Transaction::Transaction(Store& store, std::string purpose)
    : state_(std::make_unique<State>(store, std::move(purpose))) {}
Transaction::~Transaction() = default;
Transaction::Transaction(Transaction&&) noexcept = default;

ObjectId Transaction::add_object(ByteSpan content) {
    return state_->add(content);
}

std::unique_ptr<Transaction::ObjectWriter> Transaction::open_object() {
    return std::make_unique<StagingWriter>(*state_);
}

ObjectId Transaction::add_object_from(int fd, std::uint64_t size) {
    const auto size_now = [&] { return static_cast<std::uint64_t>(stat_fd(fd).st_size); };
    if (size <= kSmallObject) {
        std::vector<std::byte> content(size + 1);
        const std::size_t got = pread_full(fd, content, 0);
        if (got != size) throw changed_while_read(size, size_now());
        return state_->add(ByteSpan(content).first(size));
    }
    std::vector<std::byte> buffer(kCopyBuffer);
    TemporaryFile clone(state_->temporary("object"));
    if (::ioctl(clone.fd().get(), FICLONE, fd) == 0) {
        // The clone does not change any more: it is what is hashed.
        Hasher hasher;
        std::uint64_t at = 0;
        for (std::size_t n; (n = pread_full(clone.fd().get(), buffer, at)) > 0; at += n)
            hasher.update(ByteSpan(buffer).first(n));
        if (at != size) throw changed_while_read(size, at);
        clone.fd().close();
        const ObjectId id{hasher.finish()};
        state_->adopt(clone.path(), id, size);
        clone.keep();
        return id;
    }
    const auto writer = open_object();
    std::uint64_t at = 0;
    while (at < size) {
        const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO) {  // only a hole is left, or the file has shrunk
            if (size_now() < size) throw changed_while_read(size, size_now());
            writer->skip(size - at);
            at = size;
            break;
        }
        if (data > static_cast<off_t>(at)) {
            const std::uint64_t hole = std::min<std::uint64_t>(static_cast<std::uint64_t>(data), size) - at;
            writer->skip(hole);
            at += hole;
        }
        off_t end = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
        if (end < 0 || static_cast<std::uint64_t>(end) > size) end = static_cast<off_t>(size);
        while (at < static_cast<std::uint64_t>(end)) {
            const std::size_t want =
                std::min<std::uint64_t>(buffer.size(), static_cast<std::uint64_t>(end) - at);
            const std::size_t n = pread_full(fd, MutableByteSpan(buffer).first(want), at);
            if (n == 0) throw changed_while_read(size, at);
            writer->write(ByteSpan(buffer).first(n));
            at += n;
        }
    }
    if (const std::uint64_t now = size_now(); now != size) throw changed_while_read(size, now);
    return writer->finish();
}

// ---- layers

namespace {

/// Parts an archive that is being written into content, which is hashed only, and skeleton, which is kept.
/// TarWriter::content() writes the content that it is given before anything else, such as its padding.
class SkeletonSink final : public ByteSink {
  public:
    void write(ByteSpan bytes) override {
        hasher_.update(bytes);
        archive_bytes += bytes.size();
        const std::size_t content = std::min<std::uint64_t>(content_ahead, bytes.size());
        content_ahead -= content;
        skeleton.append(as_text(bytes.subspan(content)));
    }
    Digest digest() { return Digest::sha256(hasher_.finish()); }

    std::uint64_t archive_bytes = 0;
    std::uint64_t content_ahead = 0;
    std::string skeleton;

  private:
    Hasher hasher_;
};

}  // namespace

DiffId Transaction::add_layer(const std::vector<Entry>& entries) {
    SkeletonSink sink;
    TarWriter tar(sink);
    Toc toc;
    toc.records.reserve(entries.size());
    std::vector<std::byte> buffer(1 << 18);
    std::size_t accounted = 0;  // of the skeleton
    for (const Entry& entry : entries) {
        tar.entry(entry);
        TocRecord record{.entry = entry, .skeleton_bytes = sink.skeleton.size() - accounted, .extents = {}};
        accounted = sink.skeleton.size();
        const bool has_content =
            entry.kind == Entry::Kind::add && entry.inode.type == FileType::regular && entry.inode.size > 0;
        if (has_content) {
            if (!entry.inode.object)
                throw Error(Errc::failed, fmt::format("the layer's '{}' has no object", entry.path));
            if (!state_->known(*entry.inode.object)) {
                throw Error(Errc::failed,
                            fmt::format("object {}, the content of the layer's '{}', is not in the store",
                                        entry.inode.object->hex(), entry.path));
            }
            record.extents.push_back({0, entry.inode.size});
            const UniqueFd fd = state_->open(*entry.inode.object);
            std::uint64_t left = entry.inode.size;
            while (left > 0) {
                const std::size_t n = FdSource(fd.get()).read(
                    MutableByteSpan(buffer).first(std::min<std::uint64_t>(left, buffer.size())));
                if (n == 0) {
                    throw Error(Errc::corrupt,
                                fmt::format("object {}, the content of '{}', has {} bytes, not {}",
                                            entry.inode.object->hex(), entry.path, entry.inode.size - left,
                                            entry.inode.size))
                        .hint("run `surcoat fsck`");
                }
                sink.content_ahead = n;
                tar.content(ByteSpan(buffer).first(n));
                left -= n;
            }
        }
        toc.records.push_back(std::move(record));
    }
    tar.finish();
    toc.archive_bytes = sink.archive_bytes;
    toc.skeleton_bytes = sink.skeleton.size();
    const DiffId id{sink.digest()};
    stage_layer(id, toc, as_bytes(sink.skeleton));
    return id;
}

bool Transaction::stage_layer(const DiffId& id, const Toc& toc, ByteSpan skeleton) {
    State& state = *state_;
    for (const State::Layer& layer : state.layers) {
        if (layer.row.diff_id == id) return false;
    }
    State::Layer layer{
        .row = {.diff_id = id, .archive_bytes = toc.archive_bytes, .added_at = std::time(nullptr)},
        .file = state.temporary("layer"),
        .objects = {}};
    for (const TocRecord& record : toc.records) {
        const Entry& entry = record.entry;
        if (!record.archive_only) ++layer.row.entries;
        if (entry.kind != Entry::Kind::add || entry.inode.type != FileType::regular) continue;
        if (!record.archive_only) layer.row.content_bytes += entry.inode.size;
        if (!entry.inode.object) continue;
        if (!state.known(*entry.inode.object)) {
            throw Error(Errc::failed,
                        fmt::format("object {}, the content of the layer's '{}', is not in the store",
                                    entry.inode.object->hex(), entry.path));
        }
        layer.objects.push_back(*entry.inode.object);
    }
    std::sort(layer.objects.begin(), layer.objects.end());
    layer.objects.erase(std::unique(layer.objects.begin(), layer.objects.end()), layer.objects.end());

    const bool present = state.store.catalogue().layer(id).has_value();
    StringSink file;
    write_toc(file, toc, skeleton);
    layer.row.toc_bytes = file.text.size();
    TemporaryFile staged(layer.file);
    write_full(staged.fd().get(), as_bytes(file.text));
    staged.fd().close();
    staged.keep();
    fault_point("stage.layer_written");
    state.layers.push_back(std::move(layer));
    return !present;
}

std::optional<LayerRow> Transaction::staged_layer(const DiffId& id) const {
    for (const State::Layer& layer : state_->layers) {
        if (layer.row.diff_id == id) return layer.row;
    }
    return std::nullopt;
}

void Transaction::stage_layer_blob(const LayerBlobRow& row) {
    state_->layer_blobs.push_back(row);
}

// ---- blobs

std::unique_ptr<Transaction::BlobWriter> Transaction::open_blob() {
    return std::make_unique<StagingBlob>(*state_);
}

Digest Transaction::add_blob(std::string_view bytes, const std::string& media_type) {
    const Digest digest = Digest::of(bytes);
    const auto writer = open_blob();
    writer->write(as_bytes(bytes));
    writer->finish(digest, media_type);
    return digest;
}

void Transaction::commit(const std::function<void(Catalogue::Write&)>& body) {
    if (state_->over)
        throw Error(Errc::failed, fmt::format("the transaction '{}' is over already", state_->purpose));
    try {
        state_->make_durable();
        state_->publish(body);
    } catch (...) {
        state_->abandon();
        throw;
    }
}

}  // namespace surcoat

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The reference job on Kafka Streams: `Job BOOTSTRAP PREFIX APPLICATION STATE_DIR EVENTS`, until standard input ends.
 *
 * <pre>
 * exposures, rewards ──► Join, a task a partition ──► APPLICATION.parts ──► Sum, one task ──► APPLICATION.totals
 *                        units (RocksDB), arms                              parts
 * </pre>
 *
 * All three stores have changelogs. With the first event one line of JSON goes to standard output.
 */
public final class Job {
  static final Duration PUBLISH_EVERY = Duration.ofMillis(100);
  private static final Duration CLOSE_MAX = Duration.ofSeconds(30);

  public static void main(String[] args) throws IOException {
    String bootstrap = args[0], prefix = args[1], application = args[2], stateDir = args[3];
    var progress = new Progress(Long.parseLong(args[4]));
    var streams = new KafkaStreams(topology(prefix, application, progress), settings(bootstrap, application, stateDir));
    streams.setUncaughtExceptionHandler(error -> {
      error.printStackTrace();
      Runtime.getRuntime().halt(1);
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.start();
    while (System.in.read() >= 0) {
      // whoever started this says nothing; the end of the stream is the end of the job, however that process ended
    }
    streams.close(CLOSE_MAX);
  }

  static Topology topology(String prefix, String application, Progress progress) {
    var builder = new StreamsBuilder();
    builder.addStateStore(store(Stores.persistentKeyValueStore(Join.UNITS), Serdes.ByteArray(), Unit.SERDE));
    builder.addStateStore(store(Stores.inMemoryKeyValueStore(Join.ARMS), Serdes.String(), Totals.ARM_SERDE));
    builder.addStateStore(store(Stores.inMemoryKeyValueStore(Sum.PARTS), Serdes.String(), Totals.SERDE));
    String parts = application + ".parts", totals = application + ".totals";
    var sources = List.of(prefix + ".exposures.v1", prefix + ".rewards.v1");
    builder.stream(sources, Consumed.with(Serdes.ByteArray(), Event.SERDE))
        .process(() -> new Join(progress), Join.UNITS, Join.ARMS)
        .to(parts, Produced.with(Serdes.String(), Totals.SERDE));
    builder.stream(parts, Consumed.with(Serdes.String(), Totals.SERDE))
        .process(Sum::new, Sum.PARTS)
        .to(totals, Produced.with(Serdes.String(), Totals.SERDE));
    return builder.build();
  }

  private static <K, V> StoreBuilder<KeyValueStore<K, V>> store(KeyValueBytesStoreSupplier kind, Serde<K> key, Serde<V> value) {
    return Stores.keyValueStoreBuilder(kind, key, value).withLoggingEnabled(Map.of()).withCachingEnabled();
  }

  private static Properties settings(String bootstrap, String application, String stateDir) {
    var settings = new Properties();
    settings.put("bootstrap.servers", bootstrap);
    settings.put("application.id", application);
    settings.put("state.dir", stateDir);
    settings.put("num.stream.threads", 1);
    settings.put("processing.guarantee", "exactly_once_v2"); // its consumers read committed records only
    settings.put("commit.interval.ms", 1000);
    settings.put("replication.factor", 1);
    settings.put("auto.offset.reset", "earliest");
    // A unit's exposure and reward mostly meet in the cache, and are one write to RocksDB and to the changelog.
    settings.put("statestore.cache.max.bytes", 64L << 20);
    settings.put("buffered.records.per.partition", 5000);
    settings.put("consumer.max.poll.records", 5000);
    settings.put("consumer.max.partition.fetch.bytes", 4 << 20);
    settings.put("producer.compression.type", "lz4");
    settings.put("producer.batch.size", 256 << 10);
    return settings;
  }
}

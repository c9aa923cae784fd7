import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** The newest totals of every partition added up, and published when they are due. */
final class Sum extends ContextualProcessor<String, Totals, String, Totals> {
  static final String PARTS = "parts";

  private final Map<String, Totals> newest = new HashMap<>();
  private KeyValueStore<String, Totals> stored;
  private boolean changed = true;

  @Override
  public void init(ProcessorContext<String, Totals> context) {
    super.init(context);
    stored = context.getStateStore(PARTS);
    try (var all = stored.all()) {
      all.forEachRemaining(entry -> newest.put(entry.key, entry.value));
    }
    context.schedule(Job.PUBLISH_EVERY, PunctuationType.WALL_CLOCK_TIME, this::publish);
  }

  @Override
  public void process(Record<String, Totals> record) {
    newest.put(record.key(), record.value());
    stored.put(record.key(), record.value());
    changed = true;
  }

  private void publish(long now) {
    if (changed) {
      context().forward(new Record<>("all", Totals.sum(newest.values()), now));
      changed = false;
    }
  }
}

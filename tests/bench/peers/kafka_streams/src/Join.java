import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** The join of one partition: each event changes its unit and the partition's totals, which go on when they are due. */
final class Join extends ContextualProcessor<byte[], Event, String, Totals> {
  static final String UNITS = "units", ARMS = "arms", EVENTS = "events";

  private final Progress progress;
  private final Map<String, Totals.Arm> arms = new HashMap<>();
  private KeyValueStore<byte[], Unit> units;
  private KeyValueStore<String, Totals.Arm> stored;
  private long events, eventsForwarded;
  private boolean ended;

  Join(Progress progress) {
    this.progress = progress;
  }

  @Override
  public void init(ProcessorContext<String, Totals> context) {
    super.init(context);
    units = context.getStateStore(UNITS);
    stored = context.getStateStore(ARMS);
    try (var all = stored.all()) {
      all.forEachRemaining(entry -> arms.put(entry.key, entry.value));
    }
    Totals.Arm counted = arms.remove(EVENTS);
    events = counted == null ? 0 : counted.n();
    context.schedule(Job.PUBLISH_EVERY, PunctuationType.WALL_CLOCK_TIME, this::publish);
  }

  @Override
  public void process(Record<byte[], Event> record) {
    progress.begin();
    Unit unit = units.get(record.key());
    if (unit == null) {
      unit = new Unit();
    }
    if (join(unit, record.value())) {
      units.put(record.key(), unit);
    }
    events++;
  }

  /** Whether the event changed its unit; a duplicate does not. */
  private boolean join(Unit unit, Event event) {
    String experiment = event.experiment(), arm = unit.armIn(experiment);
    if (event.isReward()) {
      if (unit.rewardIds.contains(event.id())) {
        return false;
      }
      unit.rewardIds.add(event.id());
      if (arm == null) {
        unit.waiting.add(new Unit.Waiting(experiment, event.value()));
      } else {
        add(experiment, arm, 0, event.value());
      }
      return true;
    }
    if (arm != null) {
      return false;
    }
    unit.served.add(new Unit.Served(experiment, event.arm()));
    add(experiment, event.arm(), 1, 0);
    unit.waiting.removeIf(reward -> {
      boolean here = reward.experiment().equals(experiment);
      if (here) {
        add(experiment, event.arm(), 0, reward.value());
      }
      return here;
    });
    return true;
  }

  private void add(String experiment, String arm, long n, double value) {
    String name = experiment + "/" + arm;
    stored.put(name, arms.merge(name, new Totals.Arm(n, value), Totals.Arm::plus));
  }

  /** Every tick the totals, if they changed; after the last event also a commit, so that nobody waits for the next one. */
  private void publish(long now) {
    if (events != eventsForwarded) {
      stored.put(EVENTS, new Totals.Arm(events, 0));
      context().forward(new Record<>(String.valueOf(context().taskId().partition()), new Totals(events, Map.copyOf(arms)), now));
      eventsForwarded = events;
    }
    if (progress.over() && !ended) {
      context().commit();
      ended = true;
    }
  }
}

#!/bin/bash
# What Spark on Kubernetes starts in a pod: `driver ARGS...`, `executor`, or any other command as it is.
# Driver and executor settings come as environment variables that Spark puts into the pod.
set -eu

# Java options for an executor come as SPARK_JAVA_OPT_0, _1, ...: kept in the order of their numbers, one word each.
java_options=()
while IFS= read -r name; do
    java_options+=("${!name}")
done < <(compgen -v | grep -E '^SPARK_JAVA_OPT_[0-9]+$' | sort -t_ -k4 -n)

class_path="${SPARK_CLASSPATH:+$SPARK_CLASSPATH:}${SPARK_HOME}/jars/*"
if [ -n "${SPARK_EXTRA_CLASSPATH:-}" ]; then
    class_path="$SPARK_EXTRA_CLASSPATH:$class_path"
fi
if [ -n "${SPARK_CONF_DIR:-}" ]; then
    class_path="$SPARK_CONF_DIR:$class_path"
fi
# Files given with the job (--files, --jars) land in the working directory.
class_path="$class_path:$PWD"

role=${1:-}
case "$role" in
driver | driver-py)
    shift
    exec "$SPARK_HOME/bin/spark-submit" \
        --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
        --deploy-mode client "$@"
    ;;
executor)
    shift
    exec "$JAVA_HOME/bin/java" "${java_options[@]}" \
        "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
        -cp "$class_path" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" \
        --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
*)
    exec "$@"
    ;;
esac

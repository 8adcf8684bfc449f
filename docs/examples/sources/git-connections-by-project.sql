-- For the preset git-connections-by-project, where an owner is a project: after git-connections.sql, beside its triggers.
-- To be run by the tables' owner.
GRANT SELECT (id) ON projects TO pullsecret;
GRANT SELECT (project_id, user_id) ON project_git_auth TO pullsecret;

-- A project's credentials change with its user's connections, when it gets another user, and when it ends. The function reads
-- project_git_auth with its owner's rights: whoever writes a connection need not be allowed to. `public` is the tables'
-- schema here; name yours.
CREATE FUNCTION pullsecret_project_changed() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE changed record;
BEGIN
  IF TG_TABLE_NAME = 'git_connections' THEN
    FOR changed IN SELECT DISTINCT project_id FROM project_git_auth WHERE user_id IN (OLD.user_id, NEW.user_id)
    LOOP PERFORM pg_notify('pullsecret_owner_changed', changed.project_id::text); END LOOP;
  ELSIF TG_TABLE_NAME = 'projects' THEN
    PERFORM pg_notify('pullsecret_owner_changed', OLD.id::text);
  ELSE
    IF TG_OP <> 'INSERT' THEN PERFORM pg_notify('pullsecret_owner_changed', OLD.project_id::text); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM pg_notify('pullsecret_owner_changed', NEW.project_id::text); END IF;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER pullsecret_project_changed AFTER INSERT OR UPDATE OR DELETE ON git_connections
  FOR EACH ROW EXECUTE FUNCTION pullsecret_project_changed();
CREATE TRIGGER pullsecret_project_changed AFTER INSERT OR UPDATE OR DELETE ON project_git_auth
  FOR EACH ROW EXECUTE FUNCTION pullsecret_project_changed();
CREATE TRIGGER pullsecret_project_changed AFTER DELETE ON projects
  FOR EACH ROW EXECUTE FUNCTION pullsecret_project_changed();
CREATE TRIGGER pullsecret_everybody_changed AFTER TRUNCATE ON project_git_auth
  FOR EACH STATEMENT EXECUTE FUNCTION pullsecret_everybody_changed();
CREATE TRIGGER pullsecret_everybody_changed AFTER TRUNCATE ON projects
  FOR EACH STATEMENT EXECUTE FUNCTION pullsecret_everybody_changed();
